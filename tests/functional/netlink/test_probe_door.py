"""A port's own device, opened for a moment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from ofctl.errors import DeviceError, InvalidField
from ofctl.model.ids import DeviceName
from ofctl.netlink.probe_door import DoorHeld, ProbeDoors
from ofctl.sandbox.ovs import run
from tests.eyes import open_tap
from tests.functional.engine.lab import Namespace

ETHERTYPE = 0x88B5
TAP = DeviceName("tapprobe")
PEER = DeviceName("eth0")


def in_s(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def frame(text: bytes, ethertype: int = ETHERTYPE) -> bytes:
    return bytes.fromhex("ffffffffffff 020000000001") + ethertype.to_bytes(2, "big") + text.ljust(46, b"\0")


@pytest.fixture
async def doors(netns: None) -> AsyncIterator[ProbeDoors]:
    made = ProbeDoors()
    yield made
    await made.close()


@pytest.mark.parametrize("multi_queue", [False, True])
async def test_a_tap_is_opened_by_one_at_a_time_and_is_free_afterwards(doors: ProbeDoors, multi_queue: bool) -> None:
    run(["ip", "tuntap", "add", TAP, "mode", "tap", *(["multi_queue"] if multi_queue else [])])
    run(["ip", "link", "set", TAP, "up"])
    door = await doors.open_tap(TAP, multi_queue=multi_queue, deadline=in_s(5))
    door.send(frame(b"in"))
    if not multi_queue:
        with pytest.raises(DoorHeld, match=f"somebody has {TAP} open"):
            await doors.open_tap(TAP, multi_queue=False, deadline=in_s(5))
    await doors.close_door(door)
    before = len(os.listdir("/proc/self/fd"))
    if not multi_queue:
        open_tap(TAP).close()
    assert "NO-CARRIER" in run(["ip", "link", "show", TAP])
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_device_that_is_not_there_is_not_made(doors: ProbeDoors) -> None:
    with pytest.raises(DeviceError) as caught:
        await doors.open_tap(TAP, multi_queue=False, deadline=in_s(5))
    assert caught.value.metadata["errno"] == "ENODEV"
    assert TAP not in run(["ip", "link", "show"])


async def test_a_tap_that_is_down_cannot_send(doors: ProbeDoors) -> None:
    run(["ip", "tuntap", "add", TAP, "mode", "tap"])
    door = await doors.open_tap(TAP, multi_queue=False, deadline=in_s(5))
    with pytest.raises(DeviceError, match=f"send a frame through {TAP}"):
        door.send(frame(b"in"))
    await doors.close_door(door)


async def test_the_far_end_of_a_veth_carries_both_ways_and_hears_its_own_ethertype_only(doors: ProbeDoors) -> None:
    with Namespace() as one, Namespace() as two:
        run(["ip", "link", "add", PEER, "netns", one.path, "type", "veth", "peer", "name", PEER, "netns", two.path])
        for namespace in (one, two):
            namespace.run("ip", "link", "set", PEER, "up")
        near, far = [
            await doors.open_peer(PEER, each.path, ETHERTYPE, field="netns_path", deadline=in_s(5))
            for each in (one, two)
        ]
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        far.receive(heard.put_nowait)
        near.send(frame(b"other", 0x88B6))
        near.send(frame(b"down"))
        async with asyncio.timeout(5):
            assert await heard.get() == frame(b"down")
        await doors.close_door(near)
        await doors.close_door(far)


async def test_a_namespace_that_is_not_there(doors: ProbeDoors) -> None:
    with pytest.raises(InvalidField):
        await doors.open_peer(PEER, "/nowhere", ETHERTYPE, field="netns_path", deadline=in_s(5))
    with Namespace() as namespace, pytest.raises(DeviceError) as caught:
        await doors.open_peer(PEER, namespace.path, ETHERTYPE, field="netns_path", deadline=in_s(5))
    assert caught.value.metadata["errno"] == "ENODEV"
