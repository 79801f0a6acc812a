"""One bridge's OpenFlow 1.5 channel: connects, stays connected, commits bundles, dumps.

Everything runs in one event loop and starts no thread. Deadlines are instants of `loop.time()`, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ofctl.model.ids import DeviceName, Dpid, OfPort
from ofctl.openflow.images import FlowImage, GroupImage
from ofctl.pipeline.changes import Change

DumpedFlow = FlowImage


@dataclass(frozen=True, slots=True)
class Connected:
    """The handshake is over; the switch may have lost everything since the last generation."""

    generation: int
    dpid: Dpid


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection of this generation is gone."""

    generation: int
    cause: str


@dataclass(frozen=True, slots=True)
class CommitTimings:
    """Microseconds: `add` until the switch had taken every change without error, `commit` until the last barrier."""

    add: int
    commit: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The switch answered both the commit and the barrier after it, on this generation of the connection."""

    generation: int
    bundle_id: int
    barrier_xid: int
    changes: int
    durations_us: CommitTimings


class Switch:
    """The OpenFlow channel of one bridge. Create it anywhere, use it in one event loop."""

    def __init__(
        self,
        bridge: str,
        socket: Path,
        *,
        first_backoff_s: float = 0.001,
        max_backoff_s: float = 1.0,
        echo_interval_s: float = 2.0,
        echo_timeout_s: float = 5.0,
        handshake_timeout_s: float = 5.0,
    ) -> None:
        self.bridge = bridge
        self.socket = socket
        self.generation = 0
        self.dpid: Dpid | None = None

    @property
    def connected(self) -> bool:
        """Whether the handshake is over and the connection has not been lost since."""
        return False

    async def start(self) -> None:
        """Start connecting in the background; returns at once."""
        raise NotImplementedError

    async def close(self) -> None:
        """Disconnect for good; commits and dumps in flight end with SwitchUnavailable or OutcomeUnknown."""
        raise NotImplementedError

    def subscribe(self, callback: Callable[[Connected | Disconnected], None]) -> Callable[[], None]:
        """Have `callback` called in the loop at every change of the connection; returns what ends that."""
        raise NotImplementedError

    async def wait_connected(self, *, deadline: float) -> int:
        """Return the generation of the present connection, or of the next. Raises SwitchUnavailable at `deadline`."""
        raise NotImplementedError

    async def commit(self, changes: Sequence[Change], *, deadline: float) -> Receipt:
        """Make all of `changes` or none, in order, and return when the OpenFlow tables are confirmed by a barrier.

        Several commits may be in flight; they are applied in the order in which they were called.
        Raises SwitchRejected (nothing is in; `change` is the guilty index), SwitchUnavailable (nothing is in),
        OutcomeUnknown (the commit was sent and no answer came before `deadline` or before the disconnect).
        """
        raise NotImplementedError

    async def dump_flows(
        self, *, deadline: float, cookie: int | None = None, table: int | None = None
    ) -> list[DumpedFlow]:
        """Return the flows with exactly this cookie, in this table; None means any. Raises SwitchUnavailable."""
        raise NotImplementedError

    async def dump_groups(self, *, deadline: float, group_id: int | None = None) -> list[GroupImage]:
        """Return one group (or no element if there is none), or all. Raises SwitchUnavailable."""
        raise NotImplementedError

    async def ports(self, *, deadline: float) -> dict[DeviceName, OfPort]:
        """Return the ports that the bridge has as OpenFlow sees them, OFPP_LOCAL included. Raises SwitchUnavailable."""
        raise NotImplementedError
