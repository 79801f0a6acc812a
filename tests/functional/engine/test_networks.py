"""What a network says of its ports holds when ApplyNetwork returns."""

from __future__ import annotations

import os
import select
from dataclasses import replace
from io import FileIO

from tests.eyes import open_tap
from tests.functional.engine.lab import NETWORK, Lab

BROADCAST, OWN, FORGED = b"\xff" * 6, bytes.fromhex("525400000001"), bytes.fromhex("525400000066")
ARP = bytes.fromhex("0806 0001 0800 06 04 0001")
"""A request (RFC 826)."""
ROUNDS = 8


def announcement(sender: bytes, number: int) -> bytes:
    """Return a gratuitous ARP request for an address that is nobody's, a megaflow of its own for each number."""
    address = bytes((10, 1, 200, number))
    return (BROADCAST + sender + ARP + sender + address + bytes(6) + address).ljust(60, b"\0")


def arrived(tap: FileIO, frame: bytes, *, timeout_s: float) -> bool:
    while select.select([tap], [], [], timeout_s)[0]:
        if os.read(tap.fileno(), 2048) == frame:
            return True
    return False


async def test_nothing_cached_outlives_a_change_of_a_network(lab: Lab) -> None:
    (sender,) = await lab.plug(lab.spec("p1", mac_address="52:54:00:00:00:01"))
    (receiver,) = await lab.plug(lab.spec("p2"))
    with open_tap(sender.binding.device) as source, open_tap(receiver.binding.device) as target:
        for number in range(ROUNDS):
            forged, honest = announcement(FORGED, number), announcement(OWN, number)
            for _ in range(3):
                source.write(forged)
            source.write(honest)
            assert arrived(target, honest, timeout_s=2)
            await lab.apply_network(replace(NETWORK, port_security=False))
            source.write(forged)
            assert arrived(target, forged, timeout_s=2), f"round {number}: a cached drop outlived the call"
            await lab.apply_network(NETWORK)
            source.write(forged)
            source.write(honest)
            ready = select.select([target], [], [], 2)[0]
            assert ready and os.read(target.fileno(), 2048) == honest, f"round {number}: a cached way outlived the call"
