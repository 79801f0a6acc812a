"""The southbound side that speaks OVSDB: the switch's configuration and the store of intents."""

import warnings

with warnings.catch_warnings():
    # ovs.poller imports eventlet if it is installed (os-ken installs it), only to ask whether it has patched `select`;
    # eventlet warns of its own end on import.
    warnings.simplefilter("ignore")
    import ovs.poller  # noqa: F401
