"""The protocol of sd_notify(3), with a socket of the test's at the other end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ofctl.notify import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket and its address as NOTIFY_SOCKET has it."""
    path = str(tmp_path / "notify") if request.param == "path" else f"@ofctl-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(path.replace("@", "\0", 1) if path.startswith("@") else path)
        made.settimeout(2)
        yield made, path


async def test_what_is_said(listener: tuple[socket.socket, str]) -> None:
    heard, address = listener
    manager = ServiceManager({"NOTIFY_SOCKET": address})
    manager.ready("2 ports;\n one is\tdown")
    manager.status("2 ports;\n one is\tdown")
    manager.status("2 ports")
    manager.stopping()
    said = [heard.recv(1000).decode() for _ in range(3)]
    assert said == ["READY=1\nSTATUS=2 ports; one is down", "STATUS=2 ports", "STOPPING=1"]
    manager.close()
    manager.close()
    manager.status("too late")
    heard.setblocking(False)
    with pytest.raises(BlockingIOError):
        heard.recv(1000)


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
async def test_without_a_manager_nothing_is_said(address: str) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000"})
    manager.start_watchdog()
    manager.ready("")
    manager.status("well")
    manager.stopping()
    manager.close()


async def test_children_do_not_speak_in_our_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.setenv(name, str(tmp_path))
    ServiceManager().close()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()


async def test_signs_of_life_come_at_half_the_interval(listener: tuple[socket.socket, str]) -> None:
    heard, address = listener
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": str(os.getpid())})
    assert manager.watchdog_s == 0.1
    loop = asyncio.get_running_loop()
    heard.setblocking(False)
    manager.start_watchdog()
    times = []
    for _ in range(4):
        assert await loop.sock_recv(heard, 1000) == b"WATCHDOG=1"
        times.append(loop.time())
    assert 0.15 <= times[3] - times[0] < 0.3
    manager.close()


@pytest.mark.parametrize("variables", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": ""}])
async def test_a_watchdog_that_is_not_for_us(listener: tuple[socket.socket, str], variables: dict[str, str]) -> None:
    heard, address = listener
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000", **variables})
    manager.start_watchdog()
    manager.stopping()
    assert heard.recv(1000) == b"STOPPING=1"
    manager.close()


async def test_a_manager_without_room_is_told_later_and_in_order(listener: tuple[socket.socket, str]) -> None:
    heard, address = listener
    manager = ServiceManager({"NOTIFY_SOCKET": address})
    fillings = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler, contextlib.suppress(BlockingIOError):
        filler.setblocking(False)
        while True:
            filler.sendto(b"filling", heard.getsockname())
            fillings += 1
    manager.ready("")
    manager.status("well")
    for _ in range(fillings):
        heard.recv(1000)
    heard.setblocking(False)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(2):
        assert await loop.sock_recv(heard, 1000) == b"READY=1\nSTATUS="
        assert await loop.sock_recv(heard, 1000) == b"STATUS=well"
    manager.close()


async def test_a_manager_that_is_gone_is_no_reason_to_fail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    manager.ready("")
    manager.stopping()
    assert "does not listen" in caplog.text
    manager.close()
