"""Plug and unplug on a real switch: evidence, idempotence, conflicts, all or nothing."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from ofctl.errors import Aborted, AlreadyExists, InvalidField, NotFound, NotSupported, PermissionDenied, Refused
from ofctl.model.confirmation import Level, Outcome
from ofctl.model.ids import DeviceName, MacAddress, NetworkId, RequestId
from ofctl.model.network import Network
from ofctl.model.port import NamespaceConsumer, PortState
from ofctl.pipeline.tables import LAYOUT_VERSION
from ofctl.sandbox.ovs import run
from tests.eyes import NOTHING, open_tap
from tests.functional.engine.lab import BRIDGE, NETWORK, Lab, Namespace


@pytest.mark.parametrize("level", [Level.BARRIER, Level.DATAPATH, Level.READBACK])
async def test_the_evidence_is_what_the_system_shows(lab: Lab, level: Level) -> None:
    (port,) = await lab.plug(lab.spec("p1"), level=level)
    proof = port.binding.confirmation
    assert proof is not None
    assert proof.level is level
    device = port.binding.device
    (link,) = json.loads(run(["ip", "-j", "link", "show", "dev", device]))
    assert (proof.ifindex, link["mtu"], "UP" in link["flags"]) == (link["ifindex"], 1450, True)
    assert lab.ovs.vsctl("get", "Interface", device, "ofport").strip() == str(proof.ofport)
    assert lab.ovs.vsctl("get", "Bridge", BRIDGE, "datapath_id").strip('"\n') == f"{proof.dpid:016x}"
    dump = lab.ovs.ovs_ofctl("dump-flows", BRIDGE)
    mine = [
        line
        for line in dump.splitlines()
        if f"cookie=0xfc1{LAYOUT_VERSION:02x}03{port.binding.numbers.index:08x}" in line
    ]
    assert len(mine) == proof.flow_count > 0
    shown = {"intent", "device", "attachment", "flows"}
    shown |= {stage for stage, least in (("datapath", Level.DATAPATH), ("readback", Level.READBACK)) if level >= least}
    assert shown <= {each.stage for each in proof.stages} <= {*shown, "binding"}
    assert lab.engine.request(port.binding.request_id).outcome is Outcome.CONFIRMED
    await lab.see(port)


async def test_two_namespaces_reach_each_other_in_both_families_and_no_other_network(lab: Lab) -> None:
    other = replace(NETWORK, network_id=NetworkId("n2"))
    await lab.apply_network(other)
    with Namespace() as one, Namespace() as two, Namespace() as stranger:
        await asyncio.gather(
            lab.plug(lab.inside("p1", one, 5)),
            lab.plug(lab.inside("p2", two, 6)),
            lab.plug(replace(lab.inside("p3", stranger, 7), network_id=other.network_id)),
        )
        assert one.pings("10.1.0.6")
        assert one.pings("fd00:1::6")
        assert not stranger.pings("10.1.0.6")


async def test_unplug_leaves_nothing(lab: Lab, namespace: Namespace) -> None:
    await lab.plug(lab.spec("p1"), lab.inside("p2", namespace, 5))
    await lab.unplug("p1")
    await lab.unplug("p2")
    assert lab.seen() == NOTHING
    with pytest.raises(NotFound):
        await lab.unplug("p1")
    with pytest.raises(NotFound):
        lab.port("p1")


async def test_a_repeated_plug_returns_the_port_with_fresh_evidence(lab: Lab) -> None:
    (first,) = await lab.plug(lab.spec("p1"))
    (again,) = await lab.plug(lab.spec("p1"), level=Level.READBACK)
    assert again.binding.numbers == first.binding.numbers
    assert again.binding.confirmation is not None and first.binding.confirmation is not None
    assert again.binding.confirmation.level is Level.READBACK
    assert again.binding.confirmation.barrier_xid != first.binding.confirmation.barrier_xid
    await lab.see(again)


async def test_equal_plugs_at_once_are_one(lab: Lab) -> None:
    answers = await asyncio.gather(*(lab.plug(lab.spec("p1")) for _ in range(10)))
    assert len({port.binding.numbers.index for (port,) in answers}) == 1
    assert len({port.binding.confirmation for (port,) in answers}) == 1
    await lab.see(*answers[0])


async def test_another_spec_for_a_port_is_refused_in_flight_and_afterwards(lab: Lab) -> None:
    other = lab.spec("p1", mtu=1400)
    plug = asyncio.create_task(lab.plug(lab.spec("p1")))
    await asyncio.sleep(0)
    with pytest.raises(AlreadyExists, match="another spec"):
        await lab.plug(other)
    (port,) = await plug
    with pytest.raises(AlreadyExists, match="another spec"):
        await lab.plug(other)
    await lab.see(port)


async def test_a_request_id_belongs_to_one_port(lab: Lab) -> None:
    await lab.plug(lab.spec("p1"), request_id="same")
    with pytest.raises(InvalidField, match="request_id"):
        await lab.plug(lab.spec("p2"), request_id="same")
    assert lab.record("same").outcome is Outcome.CONFIRMED


async def test_all_or_nothing(lab: Lab, namespace: Namespace) -> None:
    (there,) = await lab.plug(lab.spec("p0"))
    broken = replace(lab.inside("p2", namespace, 5), consumer=NamespaceConsumer(netns_path="/proc/1/comm"))
    with pytest.raises(InvalidField) as caught:
        await lab.plug(lab.spec("p0"), lab.spec("p1"), broken, request_id="r")
    assert caught.value.field == "port.namespace.netns_path"
    assert caught.value.metadata["outcome"] == "ABSENT"
    record = lab.record("r")
    assert (record.outcome, record.reason) == (Outcome.ABSENT, "NO_NETNS")
    await lab.see(there)


async def test_a_foreign_device_of_that_name_survives(lab: Lab) -> None:
    run(["ip", "tuntap", "add", "d0", "mode", "tap"])
    with pytest.raises(Refused) as caught:
        await lab.plug(lab.spec("p1", requested_device=DeviceName("d0")))
    assert (caught.value.reason, caught.value.stage) == ("DEVICE_FOREIGN", "device")
    assert json.loads(run(["ip", "-j", "link", "show", "dev", "d0"]))
    assert lab.seen() == NOTHING


async def test_an_unplug_overtakes_a_plug(lab: Lab) -> None:
    lab.ovs.freeze_vswitchd()
    plug = asyncio.create_task(lab.plug(lab.spec("p1")))
    await asyncio.sleep(0.2)
    unplug = asyncio.create_task(lab.unplug("p1"))
    await asyncio.sleep(0.1)
    lab.ovs.thaw_vswitchd()
    await unplug
    with pytest.raises(Aborted) as caught:
        await plug
    assert caught.value.metadata["outcome"] == "ABSENT"
    assert lab.seen() == NOTHING


async def test_only_who_plugged_may_unplug_or_repeat(lab: Lab) -> None:
    (port,) = await lab.plug(lab.spec("p1"))
    with pytest.raises(PermissionDenied):
        await lab.unplug("p1", principal="uid:1001")
    with pytest.raises(PermissionDenied):
        await lab.plug(lab.spec("p1"), principal="uid:1001")
    await lab.see(port)
    await lab.unplug("p1", principal="uid:0", admin=True)
    assert lab.seen() == NOTHING


async def test_a_tap_that_a_guest_holds_is_not_pulled_out(lab: Lab) -> None:
    (port,) = await lab.plug(lab.spec("p1"))
    with open_tap(port.binding.device):
        with pytest.raises(Refused, match="force") as caught:
            await lab.unplug("p1")
        assert caught.value.reason == "DEVICE_HELD"
        await lab.see(port)
        await lab.unplug("p1", force=True)
    assert lab.seen() == NOTHING


async def test_validate_only_refuses_and_does_nothing(lab: Lab) -> None:
    (port,) = await lab.plug(lab.spec("p1"), validate_only=True)
    assert (port.binding.state, port.binding.confirmation) == (PortState.BUILD, None)
    mac = MacAddress("52:54:00:00:00:01")
    with pytest.raises(AlreadyExists, match="MAC"):
        await lab.plug(lab.spec("p1", mac_address=mac), lab.spec("p2", mac_address=mac), validate_only=True)
    assert lab.seen() == NOTHING
    await lab.plug(lab.spec("p1"))


@pytest.mark.parametrize("level", [Level.FABRIC])
async def test_levels_that_are_not_built_are_refused(lab: Lab, level: Level) -> None:
    with pytest.raises(NotSupported):
        await lab.plug(lab.spec("p1"), level=level)
    assert lab.seen() == NOTHING


async def test_fifty_plugs_at_once_of_which_ten_fail(lab: Lab) -> None:
    for number in range(10):
        run(["ip", "tuntap", "add", f"d{number}", "mode", "tap"])
    specs = [
        lab.spec(f"p{number}", requested_device=DeviceName(f"d{number}") if number < 10 else None)
        for number in range(50)
    ]
    answers = await asyncio.gather(*(lab.plug(spec, timeout_s=25) for spec in specs), return_exceptions=True)
    assert [isinstance(answer, Refused) for answer in answers] == [True] * 10 + [False] * 40
    good = [answer[0] for answer in answers if not isinstance(answer, BaseException)]
    assert len(good) == 40
    await lab.see(*good)


async def test_a_network_in_use_cannot_be_deleted(lab: Lab) -> None:
    await lab.plug(lab.spec("p1"))
    with pytest.raises(Refused, match="p1"):
        await lab.engine.delete_network(NETWORK.network_id, deadline=asyncio.get_running_loop().time() + 5)
    await lab.unplug("p1")
    await lab.engine.delete_network(NETWORK.network_id, deadline=asyncio.get_running_loop().time() + 5)
    with pytest.raises(NotFound):
        await lab.plug(lab.spec("p1"))
    assert lab.engine.networks() == ()


async def test_a_network_keeps_its_number_when_it_changes(lab: Lab) -> None:
    before = lab.engine.network(NETWORK.network_id)
    changed: Network = replace(NETWORK, name="blue", mtu=1500)
    after = await lab.apply_network(changed)
    assert (after.index, after.network.name) == (before.index, "blue")


async def test_the_outcome_of_a_request_that_never_came(lab: Lab) -> None:
    with pytest.raises(NotFound):
        lab.engine.request(RequestId("never"))
