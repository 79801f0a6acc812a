"""What happens behind the agent's back: told at once, mended, told again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

from ofctl.errors import OfctlError
from ofctl.model.confirmation import Level
from ofctl.model.events import PortEventType
from ofctl.model.port import PortState
from ofctl.model.vif import PluggedPort
from ofctl.sandbox.ovs import run
from tests.eyes import open_tap
from tests.functional.engine.lab import BRIDGE, Lab, Namespace
from tests.functional.engine.test_faults import before, until

Mischief = Callable[[Lab, str], None]


def delete_device(lab: Lab, device: str) -> None:
    run(["ip", "link", "delete", device])


def replace_device(lab: Lab, device: str) -> None:
    run(["ip", "link", "delete", device])
    run(["ip", "tuntap", "add", device, "mode", "tap"])
    run(["ip", "link", "set", device, "up"])


def set_down(lab: Lab, device: str) -> None:
    run(["ip", "link", "set", device, "down"])


def change_mtu(lab: Lab, device: str) -> None:
    run(["ip", "link", "set", device, "mtu", "1300"])


def move_to_another_bridge(lab: Lab, device: str) -> None:
    run(["ip", "link", "add", "other0", "type", "bridge"])
    lab.ovs.vsctl("--if-exists", "del-port", BRIDGE, device)
    run(["ip", "link", "set", device, "master", "other0"])


def move_to_another_switch_bridge(lab: Lab, device: str) -> None:
    lab.ovs.vsctl("add-br", "br-other", "--", "set", "bridge", "br-other", "datapath_type=netdev")
    lab.ovs.vsctl("del-port", BRIDGE, device, "--", "add-port", "br-other", device)


def remove_row(lab: Lab, device: str) -> None:
    lab.ovs.vsctl("--if-exists", "del-port", BRIDGE, device)


@pytest.mark.parametrize(
    "mischief",
    [
        delete_device,
        replace_device,
        set_down,
        change_mtu,
        move_to_another_bridge,
        move_to_another_switch_bridge,
        remove_row,
    ],
    ids=lambda each: each.__name__,
)
async def test_a_port_is_degraded_mended_and_active_again(lab: Lab, mischief: Mischief) -> None:
    """The last word is the frame's: a port can look well in every table and be dead."""
    with Namespace() as neighbour:
        (beside,) = await lab.plug(lab.inside("p0", neighbour, 4))
        (port,) = await lab.plug(lab.spec("p1"))
        states = asyncio.create_task(follow(lab, "p1", PortState.ACTIVE))
        await asyncio.sleep(0.05)
        mischief(lab, port.binding.device)
        async with asyncio.timeout(10):
            seen = await states
        assert [state for state, _ in seen] == [PortState.DEGRADED, PortState.ACTIVE]
        assert seen[0][1], "a reason is given"
        await lab.see(beside, lab.port("p1"))
        assert await carries(lab, lab.port("p1"), neighbour)


@pytest.mark.parametrize("mischief", [delete_device, set_down, remove_row], ids=lambda each: each.__name__)
async def test_a_namespace_s_port_is_mended_too(lab: Lab, namespace: Namespace, mischief: Mischief) -> None:
    with Namespace() as neighbour:
        await lab.plug(lab.inside("p0", neighbour, 4))
        (port,) = await lab.plug(lab.inside("p1", namespace, 5))
        states = asyncio.create_task(follow(lab, "p1", PortState.ACTIVE))
        await asyncio.sleep(0.05)
        mischief(lab, port.binding.device)
        async with asyncio.timeout(10):
            await states
        assert namespace.pings("10.1.0.4")


async def test_a_bridge_that_was_removed_comes_back_with_its_ports(lab: Lab) -> None:
    with Namespace() as one, Namespace() as two:
        ports = [*await lab.plug(lab.inside("p1", one, 5)), *await lab.plug(lab.inside("p2", two, 6))]
        lab.ovs.vsctl("del-br", BRIDGE)
        await asyncio.sleep(0.2)
        await lab.see(*ports, timeout_s=15)
        await until(lambda: lab.port("p1").binding.state is PortState.ACTIVE)
        assert one.pings("10.1.0.6")


async def follow(lab: Lab, name: str, until: PortState) -> list[tuple[PortState, str]]:
    """Return the states that those who watch are told of, up to `until`."""
    seen = []
    async for event in lab.engine.watch():
        port = event.port
        if port is None or event.event_type is PortEventType.PRESENT or port.binding.port_id != name:
            continue
        seen.append((port.binding.state, port.binding.state_reason))
        if port.binding.state is until:
            return seen
    raise AssertionError("the stream ended")


async def carries(lab: Lab, port: PluggedPort, neighbour: Namespace) -> bool:
    """Tell whether a broadcast of the neighbour comes out of a VM's TAP."""
    tap = open_tap(port.binding.device)
    try:
        os.set_blocking(tap.fileno(), False)
        for _ in range(40):
            await asyncio.to_thread(neighbour.pings, "10.1.0.99")
            while (frame := tap.read(2048)) is not None:
                if frame[12:14] == b"\x08\x06":
                    return True
        return False
    finally:
        tap.close()


def delete_flows(lab: Lab, device: str) -> None:
    lab.ovs.ovs_ofctl("del-flows", BRIDGE, "cookie=0x0fc1000300000000/0xffff00ff00000000")


@pytest.mark.parametrize("stage", ["attach", "install_flows", "settle", "read_back"])
@pytest.mark.parametrize(
    "mischief", [delete_device, replace_device, set_down, remove_row, delete_flows], ids=lambda each: each.__name__
)
async def test_mischief_in_the_middle_of_a_plug(lab: Lab, mischief: Mischief, stage: str) -> None:
    """Refused and gone, or confirmed and, if it was tampered with afterwards, mended: never in between."""
    (free,) = await lab.plug(lab.spec("p1"), validate_only=True)
    with Namespace() as neighbour:
        (beside,) = await lab.plug(lab.inside("p0", neighbour, 4))

        def strike() -> None:
            mischief(lab, free.binding.device)

        with before(lab.engine.chassis, stage, strike):
            plug = lab.plug(lab.spec("p1"), level=Level.READBACK)
            (answer,) = await asyncio.gather(plug, return_exceptions=True)
        if isinstance(answer, BaseException):
            assert isinstance(answer, OfctlError)
            await lab.see(beside)
        else:
            await lab.see(beside, *answer)
            await until(lambda: lab.port("p1").binding.state is PortState.ACTIVE)
            assert await carries(lab, lab.port("p1"), neighbour)
