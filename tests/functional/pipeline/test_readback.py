"""What the compiler says, sent by the driver and dumped by the switch, is the same byte for byte."""

from __future__ import annotations

import asyncio

from ofctl.apps import CORE_APPS
from ofctl.openflow.switch import Switch
from ofctl.openflow.wire import flow_image, group_image
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.diff import diff
from ofctl.pipeline.flow import FlowSet
from ofctl.pipeline.world import World
from ofctl.sandbox.ovs import PrivateOvs
from tests.functional.pipeline.lab import BRIDGE
from tests.unit.pipeline.worlds import EXAMPLE, FLAT, GUARDED, PHYSNET, port

COMPILER = Compiler(CORE_APPS)
FULL = EXAMPLE.with_network(FLAT).with_ports([port(5, 3), port(6, 1, slot=700)])


async def check(switch: Switch, desired: FlowSet, deadline: float) -> None:
    flows = {(flow.key, flow.cookie, flow.content) for flow in await switch.dump_flows(deadline=deadline)}
    images = [flow_image(flow) for flow in desired.flows]
    assert flows == {(image.key, image.cookie, image.content) for image in images}
    groups = await switch.dump_groups(deadline=deadline)
    assert set(groups) == {group_image(group) for group in desired.groups}


async def test_every_world_on_the_way_is_dumped_as_it_was_compiled(ovs: PrivateOvs) -> None:
    ovs.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev", "fail_mode=secure")
    deadline = asyncio.get_running_loop().time() + 20
    switch = Switch(BRIDGE, ovs.rundir / f"{BRIDGE}.mgmt")
    await switch.start()
    try:
        await switch.wait_connected(deadline=deadline)
        before = World()
        await switch.commit(diff(FlowSet(), COMPILER.compile_all(before)), deadline=deadline)
        for after in (FULL, FULL.without_port(port(3, 2).index), FULL.without_uplink(PHYSNET), GUARDED, FULL, World()):
            await switch.commit(COMPILER.changes(before, after), deadline=deadline)
            await check(switch, COMPILER.compile_all(after), deadline)
            before = after
    finally:
        await switch.close()
