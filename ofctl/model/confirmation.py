"""What was shown before ofctl said "ready", and the outcome of a request."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ofctl.model.ids import Dpid, HostId, OfPort, PortId, RequestId


class Level(enum.IntEnum):
    """How much is shown before a plug is called confirmed; each level includes those before it."""

    BARRIER = 1
    DATAPATH = 2
    READBACK = 3
    PIPELINE = 4
    PROBE = 5
    FABRIC = 6


BUILT_LEVELS = (Level.BARRIER, Level.DATAPATH, Level.READBACK, Level.PIPELINE, Level.PROBE)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTiming:
    """How long one stage of a plug took."""

    stage: str
    duration_us: int


@dataclass(frozen=True, slots=True)
class ProbeFrame:
    """A frame that was sent to show that a port works, in words for people."""

    name: str
    """Which frame, and which way: `ARP request from the guest`, `IPv4 from a forged source`."""
    expected: str
    """Where it had to come out, or that it had to be dropped."""
    seen: str
    """What became of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """The evidence for one port, as seen by the agent at `confirmed_at_ms`."""

    level: Level
    stages: tuple[StageTiming, ...]
    ifindex: int
    """Index of the device in the kernel, in the agent's network namespace."""
    ofport: OfPort
    dpid: Dpid
    connection_generation: int
    """Counts the connections to the switch since the agent started; a receipt is good for one generation."""
    bundle_id: int
    barrier_xid: int
    """Transaction id of the barrier request that the switch answered after the bundle's commit."""
    flow_count: int
    flow_digest: str
    """SHA-256, hexadecimal, of the flows that the port depends on as encoded on the wire, in order of table, priority
    and match: its own, its security groups' rules, and the members that those rules name."""
    confirmed_at_ms: int
    """Wall clock, milliseconds since the Unix epoch."""
    frames: tuple[ProbeFrame, ...] = ()
    """What was sent, in this order; empty below PIPELINE."""
    note: str = ""
    """Why `level` is not the one asked for: a sentence. Empty if it is."""


class Outcome(enum.Enum):
    """What is known to be there after a request. Three in the end of a plug or an update, and IN_PROGRESS before it."""

    IN_PROGRESS = "in_progress"
    CONFIRMED = "confirmed"
    ABSENT = "absent"
    """Nothing was created, or all that was created is gone, and the switch confirmed that."""
    UNKNOWN = "unknown"
    """The switch was unreachable; the reconciler turns this into one of the others."""
    UNCHANGED = "unchanged"
    """Of an update: the port is as before, and the switch confirmed that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """The outcome of a PlugPort, PlugPorts or UpdatePort, kept so that a caller whose deadline passed can ask."""

    request_id: RequestId
    port_id: PortId
    """The first of its ports."""
    host_id: HostId
    outcome: Outcome
    reason: str = ""
    """UPPER_SNAKE reason of the error, empty if confirmed."""
    message: str = ""
    at_ms: int
    port_ids: frozenset[PortId] = frozenset()
    """All its ports; empty in a record that was written before schema 1.1.0."""
    update: bool = False
    """Of an UpdatePort: what fails leaves the port UNCHANGED, never ABSENT."""
