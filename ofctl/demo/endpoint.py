"""What runs inside of a guest's namespace: sinks and sources of TCP and UDP, told what to do line by line.

A program of its own that needs the standard library alone, so that it starts in milliseconds:

    nsenter --net=PATH python -I endpoint.py

Each line of its input is a JSON object with `do`; the answer is one line of JSON.

    {"do": "sink"}                                             open TCP and UDP sinks, IPv4 and IPv6
      -> {"tcp": PORT, "udp": PORT}
    {"do": "send", "to": [ADDRESS, PORT], "bytes": N}          send N bytes by TCP, wait for the receiver's count
      -> {"sent": N, "received": N, "seconds": S}
    {"do": "stream", "to": [ADDRESS, PORT], "name": ID, "rate": PER_SECOND, "from": ADDRESS or absent}
      -> {}                                                    numbered datagrams from now on
    {"do": "hush", "name": ID} -> {"sent": N}                  end that stream
    {"do": "count", "name": ID}                                what of that stream arrived here
      -> {"received": N, "distinct": N, "gap_ms": LONGEST_PAUSE, "overflow": N}

An error is {"error": TEXT}.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field

BLOCK = 256 * 1024
TCP_TIMEOUT_S = 30.0
RECEIVE_BUFFER = 4 * 1024 * 1024
SO_RXQ_OVFL = 40
"""Linux, asm-generic/socket.h: counts what the socket's own buffer could not take (socket(7))."""
NUMBERED = struct.Struct("!8sI")
"""Name of the stream, at most eight bytes, and the number of the datagram."""
COUNT = struct.Struct("!Q")


@dataclass
class Arrivals:
    """What arrived of one stream."""

    numbers: set[int] = field(default_factory=set)
    received: int = 0
    last_s: float = 0.0
    gap_s: float = 0.0


class Sinks:
    """Receives everything that comes, on one TCP and one UDP port for both address families."""

    def __init__(self) -> None:
        self.arrivals: dict[bytes, Arrivals] = {}
        self.overflow = 0
        self._tcp = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self._udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._udp.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        self._udp.bind(("::", 0))
        self.ports = {"tcp": self._tcp.getsockname()[1], "udp": self._udp.getsockname()[1]}
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._receive, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._tcp.accept()
            threading.Thread(target=_drain, args=(connection,), daemon=True).start()

    def _receive(self) -> None:
        while True:
            datagram, ancillary, _, _ = self._udp.recvmsg(2048, 64)
            now = time.monotonic()
            for _, kind, value in ancillary:
                if kind == SO_RXQ_OVFL:
                    self.overflow = int.from_bytes(value, sys.byteorder)
            padded, number = NUMBERED.unpack_from(datagram)
            stream = self.arrivals.setdefault(padded.rstrip(b"\0"), Arrivals(last_s=now))
            stream.gap_s = max(stream.gap_s, now - stream.last_s)
            stream.last_s = now
            stream.received += 1
            stream.numbers.add(number)

    def count(self, name: str) -> dict[str, object]:
        """Return what arrived of the stream `name`."""
        stream = self.arrivals.get(name.encode(), Arrivals())
        return {
            "received": stream.received,
            "distinct": len(stream.numbers),
            "gap_ms": round(stream.gap_s * 1000, 1),
            "overflow": self.overflow,
        }


class Stream(threading.Thread):
    """Sends numbered datagrams at a steady rate until told to stop."""

    def __init__(self, to: tuple[str, int], name: str, rate: float, source: str) -> None:
        super().__init__(daemon=True)
        self.sent = 0
        self._to = to
        self._source = source
        self._id = name.encode()
        self._interval_s = 1 / rate
        self._enough = threading.Event()

    def run(self) -> None:
        family = socket.AF_INET6 if ":" in self._to[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as out:
            if self._source:
                out.bind((self._source, 0))
            out.connect(self._to)
            due = time.monotonic()
            while not self._enough.is_set():
                out.send(NUMBERED.pack(self._id, self.sent))
                self.sent += 1
                due += self._interval_s
                time.sleep(max(0.0, due - time.monotonic()))

    def finish(self) -> int:
        """Stop; return how many were sent."""
        self._enough.set()
        self.join(TCP_TIMEOUT_S)
        return self.sent


def _drain(connection: socket.socket) -> None:
    """Read until the sender has shut down, and tell it how much that was."""
    received = 0
    buffer = bytearray(BLOCK)
    with connection:
        connection.settimeout(TCP_TIMEOUT_S)
        try:
            while size := connection.recv_into(buffer):
                received += size
            connection.sendall(COUNT.pack(received))
        except OSError:
            return


def send(to: tuple[str, int], size: int) -> dict[str, object]:
    """Send `size` bytes by TCP; return what the receiver counted, and the time until it had."""
    block = bytes(BLOCK)
    sent = 0
    began = time.monotonic()
    with socket.create_connection(to, timeout=TCP_TIMEOUT_S) as connection:
        while sent < size:
            sent += connection.send(block[: size - sent])
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while len(answer) < COUNT.size and (part := connection.recv(COUNT.size - len(answer))):
            answer += part
    received = COUNT.unpack(answer)[0] if len(answer) == COUNT.size else -1
    return {"sent": sent, "received": received, "seconds": time.monotonic() - began}


def main() -> None:
    sinks: Sinks | None = None
    streams: dict[str, Stream] = {}
    for line in sys.stdin:
        order = json.loads(line)
        answer: dict[str, object] = {}
        try:
            to = tuple(order.get("to", ("", 0)))
            match order["do"]:
                case "sink":
                    sinks = sinks or Sinks()
                    answer = dict(sinks.ports)
                case "send":
                    answer = send((to[0], to[1]), order["bytes"])
                case "stream":
                    stream = Stream((to[0], to[1]), order["name"], order["rate"], order.get("from", ""))
                    streams[order["name"]] = stream
                    stream.start()
                case "hush":
                    answer = {"sent": streams.pop(order["name"]).finish()}
                case "count":
                    assert sinks is not None, "no sink is open"
                    answer = sinks.count(order["name"])
                case other:
                    answer = {"error": f"{other} is no order"}
        except OSError as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
