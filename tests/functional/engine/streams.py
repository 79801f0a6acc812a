"""Two guests that send each other frames without end, and count what arrived: a process of its own.

    python -m tests.functional.engine.streams TAP TAP RATE < frames

The first line of the input is a JSON list of streams, [sender (0 or 1), permitted, frame in hexadecimal]; the process
says "begun" when every permitted stream has come through once, and at the next line, or the end of the input, stops and
prints what became of each stream as a JSON list of [sent, missing, came]. At most RATE frames a second are sent, and
fewer if the switch does not keep up: no more than WINDOW rounds are under way, so that no queue overflows.

Each frame ends in a mark, its stream, its number and a word that makes up for the number in every checksum (RFC 1071).
"""

from __future__ import annotations

import json
import os
import select
import selectors
import struct
import sys
import time
from dataclasses import dataclass, field

from tests.eyes import open_tap

MARK = b"\x0f\xc1StReAm"
TAIL = struct.Struct("!8sHHHH")
"""Mark, stream, number (two words) and what makes up for it."""
WINDOW = 4
SETTLE_S = 0.5
"""After the last frame, for what is still under way."""
READ_BYTES = 2048


def tail(stream: int, number: int) -> bytes:
    """Return the end of a frame; its sum is the same for every number of a stream."""
    high, low = number >> 16, number & 0xFFFF
    return TAIL.pack(MARK, stream, high, low, 0xFFFF - (high + low) % 0xFFFF)


@dataclass
class Stream:
    """What one guest sends the other, frame by frame."""

    number: int
    sender: int
    permitted: bool
    head: bytes
    sent: int = 0
    last: int = -1
    """The highest number that came."""
    came: set[int] = field(default_factory=set)

    def send(self, tap: int) -> None:
        os.write(tap, self.head + tail(self.number, self.sent))
        self.sent += 1

    @property
    def behind(self) -> int:
        return self.sent - 1 - self.last


class Guests:
    """Both guests at once: one thread, two TAPs."""

    def __init__(self, devices: list[str], streams: list[Stream]) -> None:
        self._files = [open_tap(device) for device in devices]
        self.taps = [file.fileno() for file in self._files]
        self.streams = streams
        self._selector = selectors.DefaultSelector()
        for tap in self.taps:
            os.set_blocking(tap, False)
            self._selector.register(tap, selectors.EVENT_READ)

    def receive(self, wait_s: float) -> None:
        """Count what comes within `wait_s`; returns earlier when something has."""
        for key, _ in self._selector.select(wait_s):
            while True:
                try:
                    frame = os.read(key.fd, READ_BYTES)
                except BlockingIOError:
                    break
                self._count(frame)

    def _count(self, frame: bytes) -> None:
        at = frame.rfind(MARK)
        if at >= 0:
            _, number, high, low, _ = TAIL.unpack_from(frame, at)
            stream = self.streams[number]
            stream.came.add(high << 16 | low)
            stream.last = max(stream.last, high << 16 | low)

    @property
    def behind(self) -> int:
        return max(stream.behind for stream in self.streams if stream.permitted)

    def begin(self) -> None:
        """Send one frame of each permitted stream after the other, the next when it has come."""
        deadline = time.monotonic() + 20
        for stream in self.streams:
            while stream.permitted and not stream.came:
                assert time.monotonic() < deadline, f"stream {stream.number} does not come through"
                stream.send(self.taps[stream.sender])
                self.receive(0.2)
        for stream in self.streams:
            stream.came.clear()
            stream.sent, stream.last = 0, -1

    def run(self, rate: int) -> None:
        """Send round after round until there is a line on the standard input."""
        round_s = len(self.streams) / rate
        due = time.monotonic()
        stalled = 0.0
        while not select.select([sys.stdin], [], [], 0)[0]:
            now = time.monotonic()
            if now < due:
                self.receive(due - now)
                continue
            if self.behind > WINDOW and now < stalled:
                self.receive(0.001)
                continue
            for stream in self.streams:
                stream.send(self.taps[stream.sender])
            # A frame that is lost must not hold up the others for ever.
            stalled = now + 1.0
            due = max(due + round_s, now)
            self.receive(0)

    def finish(self) -> None:
        """Count what is still under way."""
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until:
            self.receive(until - time.monotonic())


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """See the module."""
    first, second, rate = sys.argv[1:]
    described = json.loads(sys.stdin.readline())
    streams = [
        Stream(number, sender, permitted, bytes.fromhex(head))
        for number, (sender, permitted, head) in enumerate(described)
    ]
    guests = Guests([first, second], streams)
    guests.begin()
    say("begun")
    guests.run(int(rate))
    guests.finish()
    say(json.dumps([[each.sent, each.sent - len(each.came), len(each.came)] for each in streams]))


if __name__ == "__main__":
    main()
