"""Guests of the demo: a network namespace each, with a program inside that sends and receives."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
NAMESPACES = Path("/run/netns")
COMMAND_TIMEOUT_S = 20
ORDER_TIMEOUT_S = 45.0
PING_TIMEOUT_S = 3


class GuestFailed(Exception):
    """A guest did not do what it was told; the message says what it said."""


class Program:
    """A child that answers a line with a line; it is killed with the thread that started it (prctl(2))."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def order(self, **order: object) -> dict[str, Any]:
        """Tell the program to do something, and return its answer. Raises GuestFailed."""
        with self._lock:
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps(order).encode() + b"\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                raise GuestFailed(f"{order['do']}: {self._last_words()}") from None
            answer: dict[str, Any] = json.loads(self.line())
        if "error" in answer:
            raise GuestFailed(f"{order['do']}: {answer['error']}")
        return answer

    def line(self, *, timeout_s: float = ORDER_TIMEOUT_S) -> bytes:
        """Return the program's next line of output. Raises GuestFailed."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                raise GuestFailed(f"{' '.join(self._argv)} said nothing for {timeout_s:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise GuestFailed(f"{' '.join(self._argv)} ended: {self._last_words()}")
        return line

    def stop(self) -> None:
        """Kill the program and reap it. Safe to call again."""
        self._process.kill()
        self._process.communicate()

    def _last_words(self) -> str:
        self._process.wait(COMMAND_TIMEOUT_S)
        assert self._process.stderr is not None
        return self._process.stderr.read().decode(errors="replace").strip()[-500:]


class Guest:
    """A named network namespace and the program in it. A context manager."""

    def __init__(self, name: str, addresses: Sequence[str]) -> None:
        """`addresses`: one IPv4 and one IPv6 address, without prefix length."""
        self.name = name
        self.addresses = tuple(addresses)
        self.path = NAMESPACES / name
        self.ports: dict[str, int] = {}
        self._endpoint: Program | None = None
        self._cable: Program | None = None

    def __enter__(self) -> Self:
        command("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for program in (self._endpoint, self._cable):
            if program is not None:
                program.stop()
        command("ip", "netns", "del", self.name)

    def run(self, *argv: str) -> str:
        """Run a command inside and return what it printed. Raises GuestFailed."""
        return command("nsenter", f"--net={self.path}", *argv)

    def connect_tap(self, device: str, *, mac: str, mtu: int, prefixes: Sequence[str], checksum_offload: bool) -> None:
        """Give the guest a network stack behind the TAP `device`, as a virtual machine has.

        The guest's own interface is another TAP, `eth0`; a program copies the frames between the two.
        """
        self._cable = Program([sys.executable, "-I", str(HERE / "cable.py"), device, str(self.path), "eth0", mac])
        self._cable.line(timeout_s=COMMAND_TIMEOUT_S)
        self.run("ip", "link", "set", "eth0", "mtu", str(mtu), "up")
        if not checksum_offload:
            self.run("ethtool", "-K", "eth0", "tx", "off")
        for prefix in prefixes:
            self.run("ip", "address", "add", prefix, "dev", "eth0", *(["nodad"] if ":" in prefix else []))

    def disconnect_tap(self) -> None:
        """Power the guest off: its end of the cable goes, and the TAP is held by nobody."""
        if self._cable is not None:
            self._cable.stop()
            self._cable = None

    def open_sinks(self) -> None:
        """Start the program inside; from now on it receives."""
        self._endpoint = Program(["nsenter", f"--net={self.path}", sys.executable, "-I", str(HERE / "endpoint.py")])
        self.ports = self._endpoint.order(do="sink")

    def order(self, **order: object) -> dict[str, Any]:
        """Tell the program inside to do something; see `ofctl.demo.endpoint`. Raises GuestFailed."""
        assert self._endpoint is not None
        return self._endpoint.order(**order)

    def ping(self, address: str, *, count: int = 1, wait_s: int = PING_TIMEOUT_S) -> bool:
        """Tell whether each of `count` echo requests was answered, the last within `wait_s` seconds."""
        argv = ["ping", "-n", "-q", "-i", "0.02", "-c", str(count), "-W", str(wait_s), address]
        try:
            return f" {count} received" in self.run(*argv)
        except GuestFailed:
            return False


def command(*argv: str) -> str:
    """Run a short command and return what it printed. Raises GuestFailed with what it wrote to stderr."""
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode:
        raise GuestFailed(f"{' '.join(argv)} exited with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
