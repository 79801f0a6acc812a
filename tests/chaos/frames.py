"""Frames of a guest that stands by its addresses, built here byte by byte, and the ears that hear them arrive."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO

from tests.eyes import open_tap

NONCE = 16
UDP = 17
PLACES = (42, 62)
"""Where the nonce is: behind UDP of IPv4, and in the padding of an ARP frame; behind UDP of IPv6."""


def udp(macs: tuple[str, str], ends: tuple[str, str], ports: tuple[int, int], nonce: bytes) -> bytes:
    """Return a datagram from the first of each to the second."""
    source, destination = (ipaddress.ip_address(end).packed for end in ends)
    length = 8 + NONCE
    pseudo = source + destination + struct.pack("!IHH", length, 0, UDP)
    body = struct.pack("!HHHH", *ports, length, 0) + nonce
    checksum = _checksum(pseudo + body) or 0xFFFF
    body = struct.pack("!HHHH", *ports, length, checksum) + nonce
    if len(source) == 4:
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0, 64, UDP, 0, source, destination)
        header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
        return _ethernet(macs, 0x0800) + header + body
    return _ethernet(macs, 0x86DD) + struct.pack("!IHBB", 0x60000000, length, UDP, 64) + source + destination + body


def arp_reply(macs: tuple[str, str], ends: tuple[str, str], nonce: bytes) -> bytes:
    """Return an answer that nobody asked for: it passes whatever the security groups of the other end say."""
    hardware = [_mac(mac) for mac in macs]
    addresses = [ipaddress.IPv4Address(end).packed for end in ends]
    fixed = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2)
    return _ethernet(macs, 0x0806) + fixed + hardware[0] + addresses[0] + hardware[1] + addresses[1] + nonce


def _ethernet(macs: tuple[str, str], kind: int) -> bytes:
    return _mac(macs[1]) + _mac(macs[0]) + struct.pack("!H", kind)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _checksum(octets: bytes) -> int:
    """Return the internet checksum (RFC 1071)."""
    padded = octets + bytes(len(octets) % 2)
    total: int = sum(word for (word,) in struct.iter_unpack("!H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Ears:
    """Hears at any number of devices which nonces arrive. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, asyncio.Future[None]] = {}

    def expect(self) -> tuple[bytes, asyncio.Future[None]]:
        """Return a new nonce, and what is done when it has arrived somewhere."""
        nonce = os.urandom(NONCE)
        future = self._waiting[nonce] = asyncio.get_running_loop().create_future()
        return nonce, future

    def forget(self, nonce: bytes) -> None:
        """Listen no more for a nonce."""
        self._waiting.pop(nonce).cancel()

    @contextmanager
    def at(self, device: str) -> Iterator[FileIO]:
        """Hold a device open, and hear what arrives there. Raises OSError."""
        with open_tap(device) as tap:
            os.set_blocking(tap.fileno(), False)
            loop = asyncio.get_running_loop()
            loop.add_reader(tap.fileno(), self._read, tap)
            try:
                yield tap
            finally:
                loop.remove_reader(tap.fileno())

    def _read(self, tap: FileIO) -> None:
        try:
            while (frame := tap.read(2048)) is not None:
                for place in PLACES:
                    waiting = self._waiting.get(frame[place : place + NONCE])
                    if waiting is not None and not waiting.done():
                        waiting.set_result(None)
        except OSError:
            # The device was deleted under us; what was sent to it is missed by whoever waits.
            asyncio.get_running_loop().remove_reader(tap.fileno())
