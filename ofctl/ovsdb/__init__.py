"""The southbound side that speaks OVSDB: the switch's configuration and the store of intents."""
