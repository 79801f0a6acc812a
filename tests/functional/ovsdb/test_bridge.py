"""Bridges and uplinks: made, adopted, refused, left alone."""

from __future__ import annotations

import asyncio
import subprocess

import pytest
from click.testing import CliRunner

from ofctl.cli.main import cli
from ofctl.errors import AttachError, InvalidField, NotFound, Refused
from ofctl.model.ids import DeviceName, PhysicalNetwork
from ofctl.model.vif import DatapathType
from ofctl.ovsdb.bridges import bridge_dpid
from ofctl.ovsdb.switch import SwitchDatabase
from ofctl.ovsdb.values import BridgeSpec, UplinkSpec
from ofctl.sandbox.ovs import PrivateOvs
from tests.functional.ovsdb.conftest import BRIDGE, HOST, attachment, soon, tap

PHYSICAL = PhysicalNetwork("physnet-1")


def up(device: str) -> None:
    subprocess.run(["ip", "link", "set", device, "up"], check=True)


async def heard(switch: SwitchDatabase) -> None:
    """Return when the driver has heard what others wrote before: changes come before the answer to a transaction."""
    await switch.detach(DeviceName("no-such-device"), deadline=soon())


def columns(ovs: PrivateOvs, bridge: str) -> str:
    return ovs.vsctl("list", "Bridge", bridge) + ovs.vsctl("list-ports", bridge)


async def test_ensure_makes_a_bridge_with_the_settings(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    state = switch.bridge(BRIDGE)
    assert state is not None
    assert state.dpid == bridge_dpid(HOST, BRIDGE)
    assert (state.ours, state.owner, state.fail_mode) == (True, HOST, "secure")
    listed = columns(ovs, BRIDGE)
    for line in (
        f'datapath_id         : "{state.dpid:016x}"',
        "datapath_type       : netdev",
        "fail_mode           : secure",
        "protocols           : [OpenFlow10, OpenFlow13, OpenFlow15]",
        "mcast_snooping_enable: false",
        "stp_enable          : false",
        "rstp_enable         : false",
        "controller          : []",
    ):
        assert line in listed
    assert ovs.vsctl("get", "Bridge", BRIDGE, "other_config:disable-in-band").strip() == '"true"'
    assert f"{state.dpid:016x}" in ovs.ovs_ofctl("show", BRIDGE)


async def test_ensure_again_mends_and_keeps_the_rest(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap0")
    ofport = (await switch.attach(attachment("tap0"), deadline=soon())).ofport
    ovs.vsctl("set", "Bridge", BRIDGE, "fail_mode=standalone", "stp_enable=true", "other_config:mac-aging-time=60")
    ovs.vsctl("set-controller", BRIDGE, "tcp:127.0.0.1:6653")
    state = await switch.ensure_bridge(BridgeSpec(name=BRIDGE), deadline=soon())
    assert (state.fail_mode, state.stp, state.controllers) == ("secure", False, ())
    assert ("mac-aging-time", "60") in state.other_config
    assert switch.interface(DeviceName("tap0")) is not None
    assert int(ovs.vsctl("get", "Interface", "tap0", "ofport")) == ofport


async def test_a_datapath_that_is_not_there_fails(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    with pytest.raises(AttachError):
        await switch.ensure_bridge(BridgeSpec(name="br-kernel", datapath_type=DatapathType.SYSTEM), deadline=soon())


async def test_an_existing_bridge_is_refused_and_survives(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap9")
    ovs.vsctl("add-br", "br-old", "--", "set", "Bridge", "br-old", "datapath_type=netdev")
    ovs.vsctl("add-port", "br-old", "tap9")
    ovs.ovs_ofctl("add-flow", "br-old", "priority=7,actions=drop")
    before = columns(ovs, "br-old")
    await heard(switch)
    with pytest.raises(Refused, match="ofctl bridge adopt") as refusal:
        await switch.ensure_bridge(BridgeSpec(name="br-old"), deadline=soon())
    assert refusal.value.reason == "BRIDGE_FOREIGN"
    with pytest.raises(Refused):
        await switch.attach_uplink(
            UplinkSpec(physical_network=PHYSICAL, bridge="br-old", devices=(tap("nic0"),)), deadline=soon()
        )
    assert columns(ovs, "br-old") == before
    assert "priority=7" in ovs.ovs_ofctl("dump-flows", "br-old")


async def test_adoption_is_told_first_and_then_done(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap9")
    ovs.vsctl("add-br", "br-old", "--", "set", "Bridge", "br-old", "datapath_type=netdev", "stp_enable=true")
    ovs.vsctl("add-port", "br-old", "tap9")
    before = columns(ovs, "br-old")
    await heard(switch)
    told = await switch.adopt_bridge(BridgeSpec(name="br-old"), dry_run=True, deadline=soon())
    assert columns(ovs, "br-old") == before
    assert not told.applied
    assert told.foreign_ports == ("tap9",)
    assert f"owner mark: (none) becomes {HOST}" in told.changes
    assert "fail_mode: (none) becomes secure" in told.changes
    assert "stp_enable: true becomes false" in told.changes
    assert not [change for change in told.changes if change.startswith("datapath_type")]

    done = await switch.adopt_bridge(BridgeSpec(name="br-old"), dry_run=False, deadline=soon())
    assert done.applied
    assert done.changes == told.changes
    again = await switch.adopt_bridge(BridgeSpec(name="br-old"), dry_run=True, deadline=soon())
    assert again.changes == ()
    assert ovs.vsctl("list-ports", "br-old").split() == ["tap9"]
    await switch.ensure_bridge(BridgeSpec(name="br-old"), deadline=soon())


async def test_a_bridge_that_is_not_there_is_not_adopted(switch: SwitchDatabase) -> None:
    with pytest.raises(NotFound):
        await switch.adopt_bridge(BridgeSpec(name="br-none"), dry_run=True, deadline=soon())


async def test_an_uplink_by_a_device(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    spec = UplinkSpec(physical_network=PHYSICAL, bridge=BRIDGE, devices=(tap("nic0"),))
    uplink = await switch.attach_uplink(spec, deadline=soon())
    assert await switch.attach_uplink(spec, deadline=soon()) == uplink
    assert switch.uplinks() == {PHYSICAL: uplink}
    assert uplink.ofport == int(ovs.vsctl("get", "Interface", "nic0", "ofport"))
    with pytest.raises(Refused) as refusal:
        await switch.attach_uplink(
            UplinkSpec(physical_network=PHYSICAL, bridge=BRIDGE, devices=(tap("nic1"),)), deadline=soon()
        )
    assert refusal.value.reason == "UPLINK_EXISTS"
    await switch.detach_uplink(PHYSICAL, deadline=soon())
    await switch.detach_uplink(PHYSICAL, deadline=soon())
    assert switch.uplinks() == {}
    assert ovs.vsctl("list-ports", BRIDGE).split() == []


async def test_an_uplink_by_another_bridge_is_a_pair_of_patches(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    ovs.vsctl("add-br", "br-ex", "--", "set", "Bridge", "br-ex", "datapath_type=netdev")
    spec = UplinkSpec(physical_network=PHYSICAL, bridge=BRIDGE, peer_bridge="br-ex")
    uplink = await switch.attach_uplink(spec, deadline=soon())
    assert uplink.device in ovs.vsctl("list-ports", BRIDGE).split()
    (far,) = ovs.vsctl("list-ports", "br-ex").split()
    assert ovs.vsctl("get", "Interface", far, "options:peer").strip() == uplink.device
    assert switch.uplinks() == {PHYSICAL: uplink}
    await switch.detach_uplink(PHYSICAL, deadline=soon())
    assert ovs.vsctl("list-ports", "br-ex").split() == []
    assert ovs.vsctl("list-br").split() == ["br-ex", BRIDGE]


async def test_an_uplink_by_a_bond_has_a_bridge_of_its_own(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    devices = (tap("nic0"), tap("nic1"))
    for device in devices:
        up(device)
    spec = UplinkSpec(physical_network=PHYSICAL, bridge=BRIDGE, devices=devices)
    uplink = await switch.attach_uplink(spec, deadline=soon())
    assert await switch.attach_uplink(spec, deadline=soon()) == uplink
    assert switch.uplinks() == {PHYSICAL: uplink}
    assert "nic0" in ovs.appctl("bond/show")
    (own,) = [name for name in ovs.vsctl("list-br").split() if name != BRIDGE]
    assert "NORMAL" in ovs.command("ovs-ofctl", "dump-flows", f"unix:{ovs.rundir / own}.mgmt")
    await switch.detach_uplink(PHYSICAL, deadline=soon())
    assert ovs.vsctl("list-br").split() == [BRIDGE]
    assert ovs.vsctl("list-ports", BRIDGE).split() == []


async def test_an_uplink_is_either_devices_or_a_bridge(switch: SwitchDatabase) -> None:
    with pytest.raises(InvalidField):
        await switch.attach_uplink(UplinkSpec(physical_network=PHYSICAL, bridge=BRIDGE), deadline=soon())


async def test_adopt_beside_a_running_agent_says_what_to_do(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    ovs.vsctl("add-br", "br7", "--", "set", "bridge", "br7", "datapath_type=netdev")
    before = ovs.vsctl("list", "bridge", "br7")
    command = ["bridge", "adopt", "br7", "--db", ovs.database.connection, "--host-id", HOST]
    done = await asyncio.to_thread(CliRunner().invoke, cli, command, prog_name="ofctl")
    assert done.exit_code != 0
    assert done.stderr.startswith(f"ofctl: an agent of host {HOST} is running"), done.stderr
    assert "systemctl stop ofctl-agent" in done.stderr and "Traceback" not in done.output
    assert ovs.vsctl("list", "bridge", "br7") == before
    rehearsed = await asyncio.to_thread(CliRunner().invoke, cli, [*command, "--dry-run"], prog_name="ofctl")
    assert rehearsed.exit_code == 0 and "would change" in rehearsed.output
    await switch.close()
    assert (await asyncio.to_thread(CliRunner().invoke, cli, command, prog_name="ofctl")).exit_code == 0
