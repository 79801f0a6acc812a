"""Floods: a process of its own that writes frames into a guest's device as fast as the kernel takes them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from scapy.layers.l2 import ARP

from tests.attack.cast import (
    ATTACKER,
    BROADCAST,
    INSIDER,
    NEIGHBOUR,
    NOBODY_MAC,
    ROUTER,
    VICTIM,
    Member,
    between,
    ether,
)
from tests.attack.filtering import udp
from tests.attack.scene import Scene, tagged
from tests.functional.plugins.handlers import UDP_PORT

TIMEOUT_S = 10
PROGRAM = """
import os, sys
descriptor, offset, width, frame = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), bytes.fromhex(sys.argv[4])
before, behind, sent = frame[:offset], frame[offset + width:], 0
mask = (1 << 8 * width) - 1
os.set_blocking(0, False)
print("begun", flush=True)
while True:
    try:
        os.write(descriptor, before + (sent & mask).to_bytes(width, "big") + behind)
    except BlockingIOError:
        pass
    sent += 1
    if sent % 64 == 0:
        try:
            if os.read(0, 1) == b"":
                break
        except BlockingIOError:
            pass
print(sent)
"""


@dataclass(frozen=True)
class Kind:
    """A frame, and the place in it where a counter of `width` octets makes each one another."""

    sender: Member
    frame: bytes
    offset: int
    width: int

    def has(self, frame: bytes) -> bool:
        """Tell whether a frame is one of the flood's."""
        behind = self.offset + self.width
        return frame[: self.offset] == self.frame[: self.offset] and frame[behind:] == self.frame[behind:]


def kinds() -> dict[str, Kind]:
    """Return what costs a switch or its controller something for each frame."""
    question = ARP(op=1, hwsrc=INSIDER.mac, psrc="10.1.0.14", hwdst="00:00:00:00:00:00", pdst=VICTIM.address(4))
    datagram = between(INSIDER, VICTIM, 4, udp(0, 5000, "x" * 18))
    for_app = between(ATTACKER, NEIGHBOUR, 4, udp(0, UDP_PORT, "x" * 18))
    counted = "02:00:00:00:00:00"
    return {
        "frames for an app": Kind(ATTACKER, without_checksum(for_app), 34, 2),
        "forged probes": Kind(INSIDER, ether(INSIDER.mac, BROADCAST, bytes(46), type=0x88B5), 56, 4),
        "connections": Kind(INSIDER, without_checksum(datagram), 34, 2),
        "MAC addresses to all": Kind(INSIDER, ether(counted, BROADCAST, bytes(46), type=0x0800), 8, 4),
        "MAC addresses from outside": Kind(
            ROUTER, tagged(ether(counted, NOBODY_MAC, bytes(46), type=0x0800), 100), 8, 4
        ),
        "questions": Kind(INSIDER, ether(INSIDER.mac, BROADCAST, question), 28, 4),
    }


def without_checksum(datagram: bytes) -> bytes:
    """Return a UDP datagram of IPv4 whose ports may change."""
    return datagram[:40] + b"\0\0" + datagram[42:]


class Flood:
    """A flood that goes on until the block is left; then `sent` says how many frames it was."""

    def __init__(self, scene: Scene, kind: Kind) -> None:
        self._device = scene.devices[kind.sender]
        self._kind = kind
        self.sent = 0

    def __enter__(self) -> Flood:
        kind = self._kind
        numbers = [str(self._device), str(kind.offset), str(kind.width), kind.frame.hex()]
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", PROGRAM, *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[self._device],
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.sent = int(self._process.communicate(timeout=TIMEOUT_S)[0])
