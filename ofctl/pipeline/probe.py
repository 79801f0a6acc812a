"""Frames that show whether the pipeline does for a port what it should, and where each of them must come out.

A probe bears a mark that no guest can forge: bits of a register, which are 0 in every frame that comes in through a
port. The delivery stage hands marked frames to who sent them and puts them out of no port.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

EXPERIMENTAL = 0x88B5
"""Local experimental ethertype 1 (IEEE 802-2014, 9.2.4): no stack answers it."""
VLAN = 0x8100
STRANGER = 0x0E0F_C100_0001
"""A locally administered unicast address; the first of those to be taken for one that nobody has."""
BROADCAST = 0xFFFF_FFFF_FFFF
FRAME_BYTES = 60
NONCE_BYTES = 12
"""At the end of a frame, by which it is known again when it comes back with a tag more or less."""


class Direction(enum.Enum):
    """Where a probe comes from."""

    FROM_PORT = "from the port"
    TO_PORT = "from a neighbour"
    """A neighbour that is not there: the frame begins behind classification, in the port's network."""
    FROM_OUTSIDE = "from outside"
    """At the uplink of the port's network."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A frame, and the values of DESTINATION with which it must come to the delivery stage; none: it is dropped."""

    name: str
    """Unique among the probes of a port; for people."""
    direction: Direction
    frame: bytes
    """Of `probe_frame`."""
    expected: frozenset[int] = frozenset()


def probe_frame(destination: int, source: int, *, tag: int | None = None) -> bytes:
    """Return an Ethernet frame between two addresses, with an 802.1Q tag if asked, and room for a nonce."""
    header = destination.to_bytes(6, "big") + source.to_bytes(6, "big")
    if tag is not None:
        header += VLAN.to_bytes(2, "big") + tag.to_bytes(2, "big")
    return (header + EXPERIMENTAL.to_bytes(2, "big") + b"ofctl probe").ljust(FRAME_BYTES, b"\0")


def untagged(frame: bytes) -> bytes:
    """Return the frame without its outermost 802.1Q tag, if it has one."""
    return frame[:12] + frame[16:] if frame[12:14] == VLAN.to_bytes(2, "big") else frame


def with_nonce(frame: bytes, nonce: bytes) -> bytes:
    """Return the frame with `nonce`, of NONCE_BYTES, in its place."""
    return frame[:-NONCE_BYTES] + nonce


def nonce_of(frame: bytes) -> bytes:
    """Return what stands where a probe has its nonce."""
    return frame[-NONCE_BYTES:]
