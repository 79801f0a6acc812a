"""ofctl: an in-process OpenFlow controller that owns the datapath of a compute host."""

__version__ = "0.1.0"
