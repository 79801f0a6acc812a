"""The northbound gRPC API: validate, convert, submit to the engine, wait, map errors. No OVS word in here."""
