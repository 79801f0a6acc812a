"""A second network namespace, the judge (`ip -j`), and the devices under test."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ofctl.model.ids import HostId
from ofctl.netlink.devices import Devices
from ofctl.netlink.namespaces import CLONE_NEWNET, OWN_NETNS

_libc = ctypes.CDLL(None, use_errno=True)

HOST = HostId("host-1")


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def ip(*arguments: str) -> Any:
    """Run ip(8) in the test's namespace and return its JSON."""
    printed = run("ip", "-d", "-j", *arguments)
    return json.loads(printed) if printed.strip() else []


def link(device: str) -> Any:
    """Return what ip(8) says of a device."""
    (found,) = ip("link", "show", "dev", device)
    return found


def names() -> set[str]:
    """Return the names of all devices in the test's namespace."""
    return {each["ifname"] for each in ip("link", "show")}


class Namespace:
    """A network namespace that lives as long as its descriptor."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = self._make() if fd is None else fd
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"

    @classmethod
    def here(cls) -> Namespace:
        """Return the calling thread's."""
        return cls(os.open(OWN_NETNS, os.O_RDONLY | os.O_CLOEXEC))

    @staticmethod
    def _make() -> int:
        made: list[int] = []

        def make() -> None:
            assert _libc.unshare(CLONE_NEWNET) == 0
            made.append(os.open(OWN_NETNS, os.O_RDONLY | os.O_CLOEXEC))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def enter(self) -> None:
        """Move the calling thread here."""
        assert _libc.setns(self.fd, CLONE_NEWNET) == 0

    def close(self) -> None:
        os.close(self.fd)

    def run(self, *argv: str) -> str:
        return run("nsenter", f"--net={self.path}", *argv)

    def ip(self, *arguments: str) -> Any:
        printed = self.run("ip", "-d", "-j", *arguments)
        return json.loads(printed) if printed.strip() else []

    def link(self, device: str) -> Any:
        (found,) = self.ip("link", "show", "dev", device)
        return found

    def addresses(self, device: str) -> dict[str, Any]:
        """Return the device's addresses with prefix length, link-local apart, with what ip(8) says of each."""
        (found,) = self.ip("addr", "show", "dev", device)
        return {
            f"{each['local']}/{each['prefixlen']}": each for each in found["addr_info"] if each["scope"] == "global"
        }


@pytest.fixture
def namespace(netns: None) -> Iterator[Namespace]:
    made = Namespace()
    yield made
    made.close()


@pytest.fixture
def other_namespace(netns: None) -> Iterator[Namespace]:
    made = Namespace()
    yield made
    made.close()


def worker_threads() -> int:
    """Count the driver's threads."""
    return sum(thread.name.startswith("ofctl") for thread in threading.enumerate())


@pytest.fixture
async def devices(netns: None) -> AsyncIterator[Devices]:
    """The devices under test; descriptors and threads must be back where they were when they are closed."""
    gc.collect()  # What an earlier test left to the collector is not counted as ours.
    descriptors, threads = len(os.listdir("/proc/self/fd")), worker_threads()
    made = Devices(HOST)
    yield made
    await made.close()
    await made.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert worker_threads() == threads


def soon(seconds: float = 5.0) -> float:
    """Return a deadline."""
    return asyncio.get_running_loop().time() + seconds
