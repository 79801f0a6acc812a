"""Apps that handle packets, on a real switch: what they answer, and what they cannot do to anybody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from ofctl_echo import Echo

from ofctl.engine import packet_handler
from ofctl.engine.dropping import Limits
from ofctl.model.confirmation import Level
from ofctl.model.host import AppState, AppView
from ofctl.pipeline.anchors import place_apps
from ofctl.pipeline.app import App
from ofctl.pipeline.tables import TO_APP
from tests.functional.engine.lab import BRIDGE, Namespace, in_s
from tests.functional.plugins.handlers import Blocking, Curious, Failing, Passing, Taking
from tests.functional.plugins.lab import AppLab

ECHO = {"echo": {"mac_address": "02:0f:c1:00:00:01"}}
GATEWAY = "10.1.0.1"
UNBOTHERED = Limits()
SEND = """
import socket, sys, time
door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.monotonic() + float(sys.argv[2])
for _ in range(int(sys.argv[1])):
    door.sendto(b"hello", ("10.1.0.3", 7777))
    time.sleep(0.001)
    if time.monotonic() > end:
        break
"""


async def start(lab: AppLab, *apps: type[App], limits: Limits = UNBOTHERED) -> dict[str, App]:
    """Start a host with these apps; return them by name."""
    placed = place_apps(apps, ECHO)
    lab.extra = {"apps": placed, "packet_in_limits": limits}
    await lab.start()
    await lab.apply_network()
    return {app.name: app for app in placed}


async def send(namespace: Namespace, count: int = 1, *, within_s: float = 5) -> None:
    """Send datagrams to 10.1.0.3 out of a namespace, one in a millisecond."""
    argv = ("-ISc", SEND, str(count), str(within_s))
    process = await asyncio.create_subprocess_exec("nsenter", f"--net={namespace.path}", "python3", *argv)
    assert await asyncio.wait_for(process.wait(), within_s + 10) == 0


async def until(seen: Callable[[], bool], *, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not seen():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


def view(lab: AppLab, name: str) -> AppView:
    return next(app for app in lab.engine.host().apps if app.name == name)


async def counted(lab: AppLab, name: str) -> int:
    return (await lab.engine.app_counters(deadline=in_s(5)))[name]


async def pings(namespace: Namespace, address: str, count: int = 1) -> bool:
    return await asyncio.to_thread(namespace.pings, address, count=count)


async def test_a_gateway_that_nobody_has_answers_also_after_the_switch_was_restarted(app_lab: AppLab) -> None:
    await start(app_lab, Echo)
    with Namespace() as one:
        await app_lab.plug(app_lab.inside("p1", one, 2))
        assert await pings(one, GATEWAY, 3)
        assert await counted(app_lab, "app.echo.packet-ins") == await counted(app_lab, "app.echo.packet-outs") >= 4
        app_lab.ovs.kill_vswitchd()
        app_lab.ovs.start_vswitchd()
        await until(lambda: not app_lab.engine.host().not_ready)
        deadline = time.monotonic() + 10
        while not await pings(one, GATEWAY):
            assert time.monotonic() < deadline
        report = await app_lab.engine.audit(repair=False, deadline=in_s(5))
        assert not report.findings, report


async def test_what_an_app_lets_go_on_goes_through_the_tables(app_lab: AppLab) -> None:
    apps = await start(app_lab, Passing)
    passing = apps["passing"]
    assert isinstance(passing, Taking)
    with Namespace() as one, Namespace() as two:
        await app_lab.plug(app_lab.inside("p1", one, 2), app_lab.inside("p2", two, 3))
        assert await pings(one, "10.1.0.3")
        await send(one)
        await until(lambda: _received(two) == 1)
        (packet,) = passing.taken
        port = app_lab.port("p1")
        assert (packet.source, packet.tag, packet.registers) == (port.binding.numbers.index, 3, {"SEEN": 7})
        assert packet.frame.endswith(b"hello")


def _received(namespace: Namespace) -> int:
    """Return how many datagrams came for which nobody listened."""
    return int(namespace.run("cat", "/proc/net/snmp").split("Udp: ")[2].split()[1])


async def test_probes_are_handed_to_nobody(app_lab: AppLab) -> None:
    apps = await start(app_lab, Curious)
    curious = apps["curious"]
    assert isinstance(curious, Taking)
    with Namespace() as one:
        await app_lab.plug(app_lab.inside("p1", one, 2), app_lab.spec("p2"), level=Level.PROBE)
        await send(one)
        await until(lambda: any(packet.frame[12:14] == b"\x08\x06" for packet in curious.taken))
        assert not any(packet.frame[12:14] == b"\x88\xb5" for packet in curious.taken)


async def test_an_app_that_raises_is_told_and_goes_on(app_lab: AppLab) -> None:
    await start(app_lab, Failing)
    with Namespace() as one, Namespace() as two:
        await app_lab.plug(app_lab.inside("p1", one, 2), app_lab.inside("p2", two, 3))
        assert await pings(one, "10.1.0.3")
        await send(one, 3)
        await until(lambda: "ZeroDivisionError('division by zero')" in view(app_lab, "failing").last_error)
        for _ in range(100):
            if await counted(app_lab, "app.failing.packet-failures") == 3:
                break
            await asyncio.sleep(0.02)
        assert await counted(app_lab, "app.failing.packet-failures") == 3
        assert view(app_lab, "failing").state is AppState.RUNNING


async def test_an_app_that_blocks_drops_its_own_frames_and_holds_up_nobody(
    app_lab: AppLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packet_handler, "BLOCKED_S", 0.1)
    monkeypatch.setattr(packet_handler, "QUEUE", 4)
    Blocking.released.clear()
    apps = await start(app_lab, Blocking, Echo)
    with Namespace() as one, Namespace() as two:
        try:
            await app_lab.plug(app_lab.inside("p1", one, 2), app_lab.inside("p3", two, 3))
            assert await pings(one, "10.1.0.3")
            await send(one, 10)
            await until(lambda: view(app_lab, "blocking").state is AppState.BLOCKED)
            await until(lambda: view(app_lab, "blocking").dropped_packet_ins == 5)
            assert view(app_lab, "blocking").queue_depth == 4
            await app_lab.plug(app_lab.spec("p2"))
            assert await pings(one, GATEWAY)
        finally:
            Blocking.released.set()
        blocking = apps["blocking"]
        assert isinstance(blocking, Taking)
        await until(lambda: len(blocking.taken) == 5)
        assert view(app_lab, "blocking").state is AppState.RUNNING
        assert "packet_in took" in view(app_lab, "blocking").last_error


async def test_who_floods_an_app_is_muted_and_the_others_are_served(app_lab: AppLab) -> None:
    await start(app_lab, Passing, Echo, limits=Limits(per_sender=20, per_app=200))
    with Namespace() as hostile, Namespace() as good:
        (port, _) = await app_lab.plug(app_lab.inside("p1", hostile, 2), app_lab.inside("p2", good, 3))
        flood = asyncio.create_task(send(hostile, 1_000_000, within_s=2.5))
        await until(lambda: bool(_mutes(app_lab)))
        (mute,) = _mutes(app_lab)
        assert f"reg1={port.binding.numbers.index:#x}" in mute and "actions=drop" in mute
        assert await pings(good, GATEWAY, 10)
        # What is muted for one app is not for another.
        assert await pings(hostile, GATEWAY)
        await app_lab.plug(app_lab.spec("p3"))
        taken = await counted(app_lab, "app.passing.packet-ins")
        assert await counted(app_lab, "app.passing.packet-ins-limited") >= 10
        assert taken <= 20 * 5
        await flood
        await until(lambda: not _mutes(app_lab))
        assert 1 <= await counted(app_lab, "app.passing.packet-ins-mutes") <= 3
        report = await app_lab.engine.audit(repair=False, deadline=in_s(5))
        assert not report.findings, report


def _mutes(lab: AppLab) -> list[str]:
    flows = lab.ovs.ovs_ofctl("dump-flows", BRIDGE, f"table={TO_APP.number}").splitlines()
    return [flow for flow in flows if "priority=300" in flow]
