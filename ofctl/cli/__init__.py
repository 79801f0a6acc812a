"""The command `ofctl`. Only what a command needs is imported, when it runs: `ofctl --help` imports click alone."""
