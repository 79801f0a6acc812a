"""The southbound side that speaks OVSDB: the switch's configuration and the store of intents."""

import sys

if "eventlet" not in sys.modules and "ovs.poller" not in sys.modules:
    # ovs.poller imports eventlet where it is installed (os-ken installs it), only to ask whether it has patched
    # `select`. Nothing of ours runs on eventlet, and its import is a quarter of the agent's start: for this one import
    # it is not there (a None in sys.modules makes an ImportError, which ovs.poller takes for its absence).
    sys.modules["eventlet"] = None  # type: ignore[assignment]
    try:
        import ovs.poller  # noqa: F401
    finally:
        del sys.modules["eventlet"]
