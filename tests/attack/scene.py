"""A network seen from outside of the switch: frames in by one device, and all that came out, wherever it did."""

from __future__ import annotations

import itertools
import os
import select
import struct
import time
from collections.abc import Iterable, Mapping

from tests.attack.attempt import Attempt
from tests.attack.cast import GUESTS, MEMBERS, NOBODY, ROUTER, V4_SUBNET, Member

DEADLINE_S = 10.0
RETRY_S = 0.5
"""For a fence behind a flood: the switch may have had no room for it."""
LONGEST = 65_535
_numbers = itertools.count(1)

Arrivals = dict[str, list[bytes]]
"""Frames by the place where they came out: a member of the network, or something that is none of the network's."""


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def tagged(frame: bytes, tag: int) -> bytes:
    """Return the frame with an 802.1Q tag."""
    return frame[:12] + struct.pack("!HH", 0x8100, tag) + frame[12:]


def fence(sender: Member) -> bytes:
    """Return a frame that everybody may send and that everybody gets: who has an address that nobody has.

    No two are the same: the number is in the padding.
    """
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + octets(sender.mac) + V4_SUBNET[sender.number].packed
    arp += bytes(6) + V4_SUBNET[NOBODY].packed
    frame = b"\xff" * 6 + octets(sender.mac) + b"\x08\x06" + arp
    return frame + next(_numbers).to_bytes(60 - len(frame), "big")


class Scene:
    """The devices of one network's members, and of all others, where nothing of it must come out.

    `devices` are descriptors of TAPs by member; several scenes may share the router's, which is the uplink's other
    end, if their tags tell them apart. `dumb`: a hub, where each frame goes to everybody, its sender included.
    """

    def __init__(self, name: str, devices: Mapping[Member, int], *, tag: int | None = None, dumb: bool = False) -> None:
        self.name = name
        self.devices = dict(devices)
        self.tag = tag
        self.dumb = dumb
        self.others: tuple[Scene, ...] = ()

    def try_out(self, attempt: Attempt) -> Arrivals:
        """Return what of an attempt came out, and where. Fails if not everybody got what was allowed before it."""
        for sender, frame in attempt.before:
            got = self.send(sender, frame)
            assert got == self.expected(sender, [frame]), f"{self.name}: {attempt}: what is allowed did not arrive"
        return self.send(attempt.sender, *attempt.frames, tag=not attempt.tagged)

    def send(self, sender: Member, *frames: bytes, tag: bool = True) -> Arrivals:
        """Send frames from a member's device and return all that came out anywhere.

        Two fences, sent behind them by the same device, say when that is all: everybody gets them, and the switch
        takes a port's frames in order. It may reorder those that it takes at once, so the second fence is sent when
        the first is through. A member that gets no fence fails the attempt: nothing would have arrived there.
        """
        arrivals: Arrivals = {}
        self._rest(arrivals)
        assert not arrivals, f"{self.name}: before anything was sent, there was {arrivals}"
        for frame in frames:
            self._write(sender, frame, tag=tag)
        for _ in range(2):
            self._fenced(sender, arrivals)
        self._rest(arrivals)
        return _in_order(arrivals)

    def settle(self, sender: Member) -> None:
        """Return when what was sent by a flood is through, and everybody gets the sender's own frames again."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            self._rest({})
            frame = fence(sender)
            self._write(sender, frame, tag=True)
            if self._got_by_all(sender, frame, time.monotonic() + RETRY_S):
                break
            assert time.monotonic() < deadline, f"{self.name}: after the flood nobody hears {sender.name}"
        self._rest({})

    def _got_by_all(self, sender: Member, frame: bytes, until: float) -> bool:
        """Take all that arrives until everybody has a frame, and tell whether that was in time."""
        waiting = {device: member for member, device in self.devices.items() if member != sender}
        while waiting and time.monotonic() < until:
            ready, _, _ = select.select(list(waiting), [], [], max(0.0, until - time.monotonic()))
            for device in ready:
                if self._place(waiting[device], os.read(device, LONGEST))[1] == frame:
                    del waiting[device]
        return not waiting

    def expected(self, sender: Member, frames: Iterable[bytes]) -> Arrivals:
        """Return what comes out if nothing stops it: by what a switch, or a hub, does with an Ethernet address."""
        arrivals: Arrivals = {}
        for frame in frames:
            for member in self._reached(sender, frame):
                arrivals.setdefault(member.name, []).append(frame)
        return _in_order(arrivals)

    def _reached(self, sender: Member, frame: bytes) -> Iterable[Member]:
        if self.dumb:
            return MEMBERS
        if frame[0] & 1:
            return [member for member in MEMBERS if member != sender]
        owner = next((member for member in MEMBERS if octets(member.mac) == frame[:6]), ROUTER)
        return [] if owner == sender else [owner]

    def _write(self, sender: Member, frame: bytes, *, tag: bool) -> None:
        whole = tagged(frame, self.tag) if sender == ROUTER and self.tag is not None and tag else frame
        os.write(self.devices[sender], whole)

    def _fenced(self, sender: Member, arrivals: Arrivals) -> None:
        """Send a fence and take all that arrives until everybody has it."""
        frame = fence(sender)
        self._write(sender, frame, tag=True)
        waiting = {device: member for member, device in self.devices.items() if member != sender or self.dumb}
        deadline = time.monotonic() + DEADLINE_S
        while waiting:
            ready, _, _ = select.select(list(waiting), [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                missing = ", ".join(sorted(member.name for member in waiting.values()))
                raise AssertionError(f"{self.name}: {sender.name}'s own frame did not reach {missing}")
            for device in ready:
                place, got = self._place(waiting[device], os.read(device, LONGEST))
                if got == frame and place == waiting[device].name:
                    del waiting[device]
                else:
                    arrivals.setdefault(place, []).append(got)

    def _rest(self, arrivals: Arrivals) -> None:
        """Take what else is there, in this network and in all others."""
        for scene in (self, *self.others):
            for member, device in scene.devices.items():
                while (got := _read(device)) is not None:
                    place, frame = scene._place(member, got)
                    where = place if scene is self else f"{scene.name}/{place}"
                    arrivals.setdefault(where, []).append(frame)

    def _place(self, member: Member, frame: bytes) -> tuple[str, bytes]:
        """Return where a frame came out that was read from a member's device, and the frame without our own tag."""
        if member != ROUTER or self.tag is None:
            return member.name, frame
        if frame[12:16] == struct.pack("!HH", 0x8100, self.tag):
            return member.name, frame[:12] + frame[16:]
        return "wire", frame


def _in_order(arrivals: Arrivals) -> Arrivals:
    """Return arrivals so that they compare: the switch may reorder frames of different flows."""
    return {place: sorted(frames) for place, frames in arrivals.items()}


def _read(device: int) -> bytes | None:
    try:
        return os.read(device, LONGEST)
    except BlockingIOError:
        return None


def ready(scene: Scene) -> None:
    """Fail unless every member of a network reaches all others."""
    for member in (*GUESTS, ROUTER):
        assert scene.send(member) == {}
