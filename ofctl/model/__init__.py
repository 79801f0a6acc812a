"""Frozen values that validate themselves. Pure: nothing in here does I/O."""
