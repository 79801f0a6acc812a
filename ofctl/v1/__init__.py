"""The messages and service stubs of package ofctl.v1, generated from protos/ when ofctl is built or installed."""
