"""One port put to the test: what its confirmed rules let through arrives, and what they do not never does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import FileIO

from tests.chaos.frames import Ears, arp_reply, udp
from tests.chaos.truth import (
    ADDRESSES,
    ANSWERING,
    GUARD,
    GUARDED,
    MACS,
    OPEN_SOURCE,
    SERVICES,
    SINK,
    Guest,
    Policy,
)

LOST_S = 5.0
"""A frame that is not there after this is lost. Nothing on the way waits, but the machine may be busy."""
LOOK_S = 0.2
"""How often it is asked whether to go on waiting."""
HEARD_S = 0.005
"""How often a guest that has just begun to listen is spoken to."""


@dataclass(frozen=True)
class Verdict:
    """What became of the frames of one trial."""

    sent: int
    lost: tuple[str, ...]
    leaked: tuple[str, ...]
    last_s: float
    """After so many seconds all that was permitted had arrived."""


@dataclass(frozen=True)
class _Sent:
    name: str
    nonce: bytes
    arrived: asyncio.Future[None]


class Trial:
    """Sends and listens for one guest. Belongs to one event loop."""

    def __init__(
        self, ears: Ears, sink: FileIO, guest: Guest, policy: Policy, *, hopeless: Callable[[], bool] = lambda: False
    ) -> None:
        """`sink` is the device of the sink, which `ears` hear, as they do that of the guard.

        `hopeless`: whether nothing would be proven by a frame that is lost.
        """
        self._ears = ears
        self._sink = sink
        self._guest = guest
        self._policy = policy
        self._hopeless = hopeless
        self._good: list[_Sent] = []
        self._bad: list[_Sent] = []

    async def run(self) -> Verdict:
        """Return what became of all frames. Raises OSError if the device does not take them."""
        begun = time.monotonic()
        try:
            with self._ears.at(self._guest.device) as tap:
                await self._all(tap)
            last_s = time.monotonic() - begun
            lost = tuple(each.name for each in self._good if not _there(each))
            leaked = tuple(each.name for each in self._bad if _there(each))
            return Verdict(len(self._good) + len(self._bad), lost, leaked, last_s)
        finally:
            for each in (*self._good, *self._bad):
                self._ears.forget(each.nonce)

    async def _all(self, tap: FileIO) -> None:
        for version in (4, 6):
            for name, permitted, frame, nonce in self._outward(version):
                self._send(tap, name, frame, nonce, permitted=permitted)
        if not (await self._arrival() and await self._listening()):
            return
        for version in (4, 6):
            for service in SERVICES:
                self._ask(version, service)
        if not await self._arrival():
            return
        for version in (4, 6):
            for service in SERVICES:
                self._answer(tap, version, service)
        # Of frames that are read together the switch sends those of known connections last: what it reads after the
        # first marks have come is behind all of them.
        for _ in range(2):
            self._mark(tap, self._guest.port_id, SINK)
            self._mark(self._sink, SINK, self._guest.port_id)
            if not await self._arrival():
                return

    async def _listening(self) -> bool:
        """Return whether the guest hears: the kernel takes frames for a device that was just opened in a moment only.

        Until its work for carriers that come (net/core/link_watch.c) is done, all go to a queue that drops them.
        """
        until = time.monotonic() + LOST_S
        while True:
            self._mark(self._sink, SINK, self._guest.port_id)
            mark = self._good[-1]
            await asyncio.wait([mark.arrived], timeout=HEARD_S)
            if _there(mark) or time.monotonic() > until or self._hopeless():
                return _there(mark)
            self._ears.forget(self._good.pop().nonce)

    def _outward(self, version: int) -> Iterator[tuple[str, bool, bytes, tuple[bytes, asyncio.Future[None]]]]:
        guest = self._guest
        attempts = [("fixed", SINK, service) for service in SERVICES]
        attempts += [(kind, SINK, SERVICES[0]) for kind in ("more", "pair", "forged")]
        attempts += [(kind, GUARD, GUARDED) for kind in ("fixed", "pair", "forged")]
        attempts += [("fixed", GUARD, SERVICES[0])]
        for kind, neighbor, service in attempts:
            nonce, arrived = self._ears.expect()
            ends = (guest.address(version, kind), ADDRESSES[neighbor, version])
            frame = udp((guest.mac, MACS[neighbor]), ends, (OPEN_SOURCE, service), nonce)
            permitted = guest.may_send(self._policy, version, kind, neighbor, service)
            yield f"IPv{version} {kind} to {neighbor}:{service}", permitted, frame, (nonce, arrived)

    def _ask(self, version: int, service: int) -> None:
        nonce = self._ears.expect()
        ends = (ADDRESSES[SINK, version], self._guest.address(version))
        frame = udp((MACS[SINK], self._guest.mac), ends, (ANSWERING, service), nonce[0])
        permitted = self._guest.may_get(self._policy, version, service)
        self._send(self._sink, f"IPv{version} from sink to :{service}", frame, nonce, permitted=permitted)

    def _answer(self, tap: FileIO, version: int, service: int) -> None:
        """Reply to what was let in: a connection's replies need no rule."""
        guest, policy = self._guest, self._policy
        filtered = guest.filtered or guest.trusted
        if not guest.may_get(policy, version, service) or (filtered and not policy.stateful):
            return
        nonce = self._ears.expect()
        ends = (guest.address(version), ADDRESSES[SINK, version])
        frame = udp((guest.mac, MACS[SINK]), ends, (service, ANSWERING), nonce[0])
        self._send(tap, f"IPv{version} reply from :{service}", frame, nonce, permitted=True)

    def _mark(self, device: FileIO, own: str, other: str) -> None:
        guest = self._guest
        macs = {guest.port_id: guest.mac, SINK: MACS[SINK]}
        ends = {guest.port_id: guest.address(4), SINK: ADDRESSES[SINK, 4]}
        nonce = self._ears.expect()
        frame = arp_reply((macs[own], macs[other]), (ends[own], ends[other]), nonce[0])
        self._send(device, f"ARP from {own}", frame, nonce, permitted=True)

    def _send(
        self, device: FileIO, name: str, frame: bytes, nonce: tuple[bytes, asyncio.Future[None]], *, permitted: bool
    ) -> None:
        (self._good if permitted else self._bad).append(_Sent(name, *nonce))
        device.write(frame)

    async def _arrival(self) -> bool:
        """Return whether all that is permitted has arrived, when it has, or when nothing more is waited for."""
        waiting = {each.arrived for each in self._good if not each.arrived.done()}
        until = time.monotonic() + LOST_S
        while waiting and time.monotonic() < until:
            _, waiting = await asyncio.wait(waiting, timeout=LOOK_S)
            if self._hopeless():
                break
        return not waiting


def _there(sent: _Sent) -> bool:
    return sent.arrived.done() and not sent.arrived.cancelled()
