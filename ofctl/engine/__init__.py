"""The engine: from an intent to a confirmed port and back to a verified absence."""
