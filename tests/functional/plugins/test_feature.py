"""The example feature app on a real switch: frames of real guests, the plug's evidence, a restart without it."""

from __future__ import annotations

import asyncio
import sys

import pytest
from ofctl_guard import Guard

from ofctl.apps import CORE_APPS
from ofctl.errors import AppFailed, InvalidField
from ofctl.model.confirmation import Level
from ofctl.model.port import PortState
from ofctl.pipeline.anchors import place_apps
from ofctl.pipeline.compiler import Compiler
from tests.functional.engine.lab import BRIDGE, Namespace, in_s
from tests.functional.plugins.lab import AppLab
from tests.unit.plugins.apps import Both, wrong

OPTIONS = {"guard": {"tcp_ports": ["25"]}}
TABLE = 20


def apps(lab: AppLab) -> None:
    lab.extra = {"apps": place_apps([Guard, Both], OPTIONS)}


@pytest.fixture
async def lab(app_lab: AppLab) -> AppLab:
    """A host with the guard and an app with tables at both anchors."""
    apps(app_lab)
    await app_lab.start()
    await app_lab.apply_network()
    return app_lab


LISTEN = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
server.accept()
"""
CONNECT = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3]))
"""


async def talks(source: Namespace, sink: Namespace, address: str, port: int, *, timeout_s: float = 5.0) -> bool:
    """Tell whether a TCP connection can be made."""
    where = (address, str(port))
    listener = await _python(sink, LISTEN, *where)
    try:
        assert listener.stdout is not None
        assert await asyncio.wait_for(listener.stdout.readline(), 10) == b"listening\n"
        client = await _python(source, CONNECT, *where, str(timeout_s))
        return await asyncio.wait_for(client.wait(), 15) == 0
    finally:
        if listener.returncode is None:
            listener.kill()
        await listener.wait()


async def _python(inside: Namespace, program: str, *argv: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "nsenter",
        f"--net={inside.path}",
        sys.executable,
        "-ISc",
        program,
        *argv,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )


def flows(lab: AppLab, table: int) -> list[str]:
    return [line for line in lab.ovs.ovs_ofctl("dump-flows", BRIDGE, f"table={table}").splitlines() if "cookie" in line]


async def test_what_the_app_drops_is_dropped_and_counted_and_the_rest_goes_on(lab: AppLab) -> None:
    with Namespace() as one, Namespace() as two:
        free = ("guard/tcp-ports", "465")
        await lab.plug(lab.inside("p1", one, 2), lab.inside("p2", two, 3, annotations=(free,)), level=Level.PROBE)
        assert one.pings("10.1.0.3", count=2)
        assert not await talks(one, two, "10.1.0.3", 25, timeout_s=0.5)
        assert await talks(one, two, "10.1.0.3", 80)
        assert await talks(two, one, "10.1.0.2", 25)
        counted = await lab.engine.app_counters(deadline=in_s(5))
        assert counted["app.guard.blocked"] >= 1
        assert counted["app.guard.flows"] == len(flows(lab, TABLE)) == 5
        assert [(app.name, app.kind) for app in lab.engine.host().apps] == [("guard", "feature"), ("both", "feature")]


async def test_the_apps_flows_are_part_of_the_plug_and_of_the_unplug(lab: AppLab) -> None:
    (port,) = await lab.plug(lab.spec("p1"), level=Level.READBACK)
    world = lab.engine.chassis.tables.world
    bare = len(Compiler(CORE_APPS).compile_port(port.binding.numbers.index, world).flows)
    assert port.binding.confirmation is not None
    assert port.binding.confirmation.flow_count == bare + 2 + 1
    assert len(flows(lab, TABLE)) == 2 + 1
    await lab.unplug("p1")
    assert len(flows(lab, TABLE)) == 1
    await lab.see()


async def test_what_others_take_away_of_an_apps_flows_is_put_back(lab: AppLab) -> None:
    await lab.plug(lab.spec("p1"))
    lab.ovs.ovs_ofctl("del-flows", BRIDGE, f"table={TABLE}")
    for _ in range(200):
        if len(flows(lab, TABLE)) == 3:
            break
        await asyncio.sleep(0.02)
    assert len(flows(lab, TABLE)) == 3


async def test_an_app_that_is_not_loaded_any_more_leaves_no_flow(lab: AppLab) -> None:
    with Namespace() as one, Namespace() as two:
        await lab.plug(lab.inside("p1", one, 2, annotations=(("guard/tcp-ports", "26"),)), lab.inside("p2", two, 3))
        assert flows(lab, TABLE) and flows(lab, 120)
        await lab.stop()
        lab.extra = {}
        await lab.start()
        assert not any(flows(lab, table) for table in (TABLE, 21, 120))
        assert lab.port("p1").binding.spec.annotations == (("guard/tcp-ports", "26"),)
        assert one.pings("10.1.0.3", count=2)
        await lab.stop()
        apps(lab)
        await lab.start()
        assert any("tp_dst=26" in flow for flow in flows(lab, TABLE))


async def test_an_annotation_that_the_app_refuses_is_named_by_its_path(lab: AppLab) -> None:
    with pytest.raises(InvalidField, match="must be at most 16 TCP ports") as refused:
        await lab.plug(lab.spec("p1", annotations=(("guard/tcp-ports", "smtp"),)))
    assert refused.value.field == "port.annotations['guard/tcp-ports']"
    await lab.see()


async def test_an_app_that_fails_for_one_port_fails_that_plug_alone(app_lab: AppLab) -> None:
    good = Both.port_flows

    def sometimes(app: Both, port: object) -> object:
        if getattr(port, "port_id", "") == "p2":
            raise ZeroDivisionError("division by zero")
        return next(iter(good(app, port, None)))  # type: ignore[arg-type]

    app_lab.extra = {"apps": place_apps([wrong(sometimes)], {})}
    await app_lab.start()
    await app_lab.apply_network()
    plugs = [app_lab.plug(app_lab.spec(name)) for name in ("p1", "p2", "p3")]
    one, two, three = await asyncio.gather(*plugs, return_exceptions=True)
    assert isinstance(two, AppFailed) and two.metadata["app"] == "wrong"
    assert (two.stage, two.metadata["outcome"]) == ("flows", "ABSENT")
    assert isinstance(one, tuple) and isinstance(three, tuple)
    assert one[0].binding.state is three[0].binding.state is PortState.ACTIVE
    await app_lab.see(*one, *three)


async def test_a_start_says_which_app_cannot_compile_what_is_plugged(app_lab: AppLab) -> None:
    await app_lab.start()
    await app_lab.apply_network()
    await app_lab.plug(app_lab.spec("p1"))
    await app_lab.stop()

    def never(app: Both, port: object) -> object:
        raise ZeroDivisionError("division by zero")

    app_lab.extra = {"apps": place_apps([wrong(never)], {})}
    with pytest.raises(AppFailed, match="app wrong cannot compile port p1"):
        await app_lab.start()
