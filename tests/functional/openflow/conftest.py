"""Fixtures: a bridge of the private switch, and our channel to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from ofctl.openflow.switch import Switch
from ofctl.sandbox.ovs import PrivateOvs

BRIDGE = "br0"


def within(seconds: float) -> float:
    """Return the deadline that is so far away."""
    return asyncio.get_running_loop().time() + seconds


def footprint() -> tuple[int, int, int]:
    """Return how many descriptors, threads and tasks this process has."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), len(asyncio.all_tasks())


@pytest.fixture
def bridge(ovs: PrivateOvs) -> PrivateOvs:
    """A switch with one bridge as ofctl makes them."""
    ovs.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev", "fail_mode=secure")
    return ovs


@pytest.fixture
async def switch(bridge: PrivateOvs) -> AsyncIterator[Switch]:
    """The bridge's channel, connected."""
    switch = Switch(BRIDGE, bridge.rundir / f"{BRIDGE}.mgmt")
    await switch.start()
    await switch.wait_connected(deadline=within(10))
    try:
        yield switch
    finally:
        await switch.close()
