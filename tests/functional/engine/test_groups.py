"""Changes of security groups and address groups on a real switch, confirmed on every port that they concern."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from dataclasses import replace
from typing import Any

import pytest

from ofctl.errors import DeadlineExceeded, DriverError, NotFound, OfctlError, Refused
from ofctl.model.confirmation import Confirmation, Level
from ofctl.model.ids import PortId
from ofctl.model.port import PortState
from ofctl.model.security import (
    AddressGroupId,
    GroupMember,
    Ports,
    RuleDirection,
    SecurityGroup,
    SecurityGroupId,
    SecurityRule,
)
from ofctl.model.vif import PluggedPort
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.flow import Flow, FlowSet, GroupId, Match, ToGroup
from ofctl.pipeline.tables import CookieKind
from ofctl.pipeline.world import World
from tests.functional.engine.lab import BRIDGE, HOST, NETWORK, Lab, Namespace, in_s, some
from tests.functional.engine.test_faults import before, until
from tests.functional.engine.test_update import G1, G2, LEVELS, PING, addresses
from tests.functional.engine.test_update_faults import flows

IN = RuleDirection.INGRESS


def named(ports: tuple[PluggedPort, ...]) -> list[str]:
    return [port.binding.port_id for port in ports]


def proof(port: PluggedPort) -> Confirmation:
    assert port.binding.confirmation is not None
    return port.binding.confirmation


@pytest.mark.parametrize("level", some(LEVELS, Level.READBACK))
async def test_a_change_has_evidence_of_every_port_that_it_concerns_and_of_no_other(lab: Lab, level: Level) -> None:
    """p1 has the group, p2 one whose rule names it, p3 another."""
    created = await lab.apply_group("g1", level=level)
    assert created.ports == ()
    await lab.apply_group("g2", SecurityRule(direction=IN, remote_security_group=G1))
    await lab.apply_group("g3")
    for name, group in (("p1", "g1"), ("p2", "g2"), ("p3", "g3")):
        await lab.plug(lab.spec(name, security_groups=(SecurityGroupId(group),)))
    digests = {name: proof(lab.port(name)).flow_digest for name in ("p1", "p2", "p3")}
    stale = {name: proof(lab.port(name)) for name in ("p1", "p2", "p3")}
    member = GroupMember(network_id=NETWORK.network_id, address=ipaddress.ip_network("10.1.9.9/32"))
    applied = await lab.apply_group("g1", *PING, members=(member,), level=level)
    assert applied.group.index == created.group.index
    assert named(applied.ports) == ["p1", "p2"]
    for port in applied.ports:
        assert proof(port).level is level and port.binding.state is PortState.ACTIVE
        assert proof(port).flow_digest != digests[port.binding.port_id]
        assert proof(port).barrier_xid != stale[str(port.binding.port_id)].barrier_xid
    assert proof(lab.port("p3")) == stale["p3"]
    again = await lab.apply_group("g1", *PING, members=(member,), level=level)
    assert named(again.ports) == ["p1", "p2"] and proof(again.ports[0]) != proof(applied.ports[0])
    assert proof(again.ports[0]).flow_digest == proof(applied.ports[0]).flow_digest
    await lab.stop()
    await lab.start()
    assert proof(lab.port("p2")).flow_digest == proof(applied.ports[1]).flow_digest


async def test_rules_hold_and_stop_to_hold(lab: Lab) -> None:
    await lab.apply_group("g1")
    with Namespace() as one, Namespace() as two:
        await lab.plug(lab.inside("p1", one, 5, security_groups=(G1,)), lab.inside("p2", two, 6))
        assert not two.pings("10.1.0.5", wait_s=0.3) and not two.pings("fd00:1::5", wait_s=0.3)
        await lab.apply_group("g1", *PING)
        assert two.pings("10.1.0.5") and two.pings("fd00:1::5")
        await lab.apply_group("g1", PING[1])
        assert not two.pings("10.1.0.5", wait_s=0.3)
        assert two.pings("fd00:1::5")


async def test_an_address_group_and_a_remote_group_let_in_whom_they_name(lab: Lab) -> None:
    guests = AddressGroupId("guests")
    await lab.apply_addresses("guests")
    await lab.apply_group("g1", SecurityRule(direction=IN, remote_address_group=guests))
    await lab.apply_group("g2")
    with Namespace() as one, Namespace() as two:
        await lab.plug(lab.inside("p1", one, 5, security_groups=(G1,)), lab.inside("p2", two, 6))
        assert not two.pings("10.1.0.5", wait_s=0.3)
        applied = await lab.apply_addresses("guests", "10.1.0.6/32", "fd00:1::/64")
        assert named(applied.ports) == ["p1"]
        assert two.pings("10.1.0.5") and two.pings("fd00:1::5")
        await lab.apply_addresses("guests", "fd00:1::/64")
        assert not two.pings("10.1.0.5", wait_s=0.3)
        await lab.apply_group("g1", SecurityRule(direction=IN, remote_security_group=G2))
        assert not two.pings("fd00:1::5", wait_s=0.3)
        await lab.update("p2", security_groups=(G2,))
        assert two.pings("10.1.0.5") and two.pings("fd00:1::5")
        await lab.update("p2", security_groups=())
        assert not two.pings("10.1.0.5", wait_s=0.3)


async def test_what_may_not_be_is_refused_and_nothing_changes(lab: Lab) -> None:
    await lab.apply_group("g1")
    await lab.apply_group("g2")
    await lab.plug(lab.spec("p1", security_groups=(G1, G2)))
    there = flows(lab)

    async def refused(reason: str, subject: str, call: Any) -> None:
        with pytest.raises(Refused) as caught:
            await call
        assert (caught.value.reason, caught.value.subject) == (reason, subject)
        assert "outcome" not in caught.value.metadata

    none = SecurityRule(direction=IN, remote_security_group=SecurityGroupId("none"))
    nobody = SecurityRule(direction=IN, remote_address_group=AddressGroupId("none"))
    first = "security_group.rules[0]"
    await refused("SECURITY_GROUP_NOT_FOUND", f"{first}.remote_security_group_id", lab.apply_group("g1", none))
    await refused("ADDRESS_GROUP_NOT_FOUND", f"{first}.remote_address_group_id", lab.apply_group("g1", nobody))
    await refused("SECURITY_GROUPS_MIXED", "security_group.stateful", lab.apply_group("g1", stateful=False))
    await refused("GROUP_IN_USE", "g1", lab.engine.delete_security_group(G1, deadline=in_s(5)))
    assert flows(lab) == there
    mixed = lab.spec("p2", security_groups=(G1, SecurityGroupId("none")))
    await refused("SECURITY_GROUP_NOT_FOUND", "port.security_groups[1]", lab.plug(mixed))


async def test_a_group_is_deleted_when_nobody_uses_it(lab: Lab) -> None:
    there = flows(lab)
    guests = AddressGroupId("guests")
    await lab.apply_addresses("guests", "10.1.0.6/32")
    await lab.apply_group(
        "g1",
        SecurityRule(direction=IN, remote_security_group=G1),
        SecurityRule(direction=IN, remote_address_group=guests),
    )
    await lab.apply_group("g2", SecurityRule(direction=IN, remote_security_group=G1))
    await lab.plug(lab.spec("p1", security_groups=(G1,)))
    engine = lab.engine
    for delete in (engine.delete_address_group(guests, deadline=in_s(5)),):
        with pytest.raises(Refused, match="g1"):
            await delete
    with pytest.raises(Refused, match="p1"):
        await engine.delete_security_group(G1, deadline=in_s(5))
    await lab.update("p1", security_groups=())
    with pytest.raises(Refused, match="g2"):
        await engine.delete_security_group(G1, deadline=in_s(5))
    await engine.delete_security_group(G2, deadline=in_s(5))
    await engine.delete_security_group(G1, deadline=in_s(5))
    await engine.delete_address_group(guests, deadline=in_s(5))
    await lab.unplug("p1")
    assert flows(lab) == there
    assert engine.security_groups() == () and engine.address_groups() == ()
    with pytest.raises(NotFound):
        await engine.delete_security_group(G1, deadline=in_s(5))
    await lab.stop()
    await lab.start()
    assert lab.engine.security_groups() == ()


async def test_a_plug_waits_for_no_group_and_a_group_for_the_plug(lab: Lab) -> None:
    """Plugs and changes of their group at once: whatever order they come in, the evidence is of what is there."""
    await lab.apply_group("g1")
    plugs = [lab.plug(lab.spec(f"p{number}", security_groups=(G1,)), timeout_s=25) for number in range(20)]
    changes = [lab.apply_group("g1", *PING[: number % 3], timeout_s=25) for number in range(5)]
    await asyncio.gather(*plugs, *changes)
    for number in range(20):
        port = PortId(f"p{number}")
        fresh = await lab.engine.verify(port, HOST, Level.READBACK, deadline=in_s(5))
        assert proof(fresh).flow_count > 0
    audit = await lab.engine.audit(repair=False, deadline=in_s(10))
    assert audit.findings == ()


async def test_groups_that_name_each_other_are_there_after_a_restart_and_nothing_is_sent(lab: Lab) -> None:
    await lab.apply_group("g1")
    await lab.apply_group("g2", SecurityRule(direction=IN, remote_security_group=G1))
    await lab.apply_group("g1", SecurityRule(direction=IN, remote_security_group=G2))
    with Namespace() as one, Namespace() as two:
        await lab.plug(lab.inside("p1", one, 5, security_groups=(G1,)), lab.inside("p2", two, 6, security_groups=(G2,)))
        assert one.pings("10.1.0.6") and two.pings("fd00:1::5")
        there = flows(lab)
        await lab.stop()
        await lab.start()
        assert flows(lab) == there
        assert [each.group.security_group_id for each in lab.engine.security_groups()] == [G1, G2]
        assert two.pings("10.1.0.5")
        generation = lab.engine.chassis.switch.generation
        lab.ovs.kill_vswitchd()
        lab.ovs.start_vswitchd()
        chassis = lab.engine.chassis
        await until(lambda: chassis.switch.generation > generation and chassis.tables.resynced)
        assert flows(lab) == there
        assert one.pings("10.1.0.6") and two.pings("fd00:1::5")


class Broken(DriverError):
    """What the tests break a change with."""

    default_reason = "BROKEN"


@pytest.mark.parametrize(
    ("fault", "new"),
    some(
        [
            ("refused by the switch", False),
            ("refused by the switch", True),
            ("not settled", False),
            ("not settled", True),
            ("not read back", False),
        ],
        ("refused by the switch", True),
        ("not read back", False),
    ),
)
async def test_a_change_that_fails_leaves_everything_as_before(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, fault: str, new: bool
) -> None:
    await lab.apply_group("g2")
    await lab.plug(lab.spec("p1", security_groups=(G2,)))
    if not new:
        await lab.apply_group("g1", PING[0])
        await lab.update("p1", security_groups=(G1,))
    there = flows(lab)
    chassis = lab.engine.chassis
    if fault == "refused by the switch":
        break_group(monkeypatch)
    elif fault == "not settled":
        break_once(monkeypatch, chassis, "settle")
    else:
        break_once(monkeypatch, chassis, "read_back", DriverError("differs", reason="READBACK_DIFFERS"))
    with pytest.raises(DriverError) as caught:
        await lab.apply_group("g1", *PING, level=Level.READBACK)
    assert caught.value.metadata["outcome"] == "UNCHANGED"
    assert flows(lab) == there
    await lab.stop()
    await lab.start()
    assert flows(lab) == there
    if new:
        with pytest.raises(NotFound):
            lab.engine.security_group(G1)
    else:
        assert lab.engine.security_group(G1).group.rules == PING[:1]
        fresh = await lab.engine.verify(PortId("p1"), HOST, Level.READBACK, deadline=in_s(5))
        assert proof(fresh).flow_digest == proof(lab.port("p1")).flow_digest


def break_once(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, error: OfctlError | None = None) -> None:
    original, broken = getattr(owner, name), False

    async def fails(*arguments: Any, **named: Any) -> Any:
        nonlocal broken
        if not broken:
            broken = True
            raise error or Broken(f"{name} broke")
        return await original(*arguments, **named)

    monkeypatch.setattr(owner, name, fails)


def break_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the rules of both families of g1 have a flow that the switch refuses."""
    original = Compiler._group

    def corrupt(compiler: Compiler, group: Any, world: World) -> FlowSet:
        made = original(compiler, group, world)
        if group.group.security_group_id != G1 or len(group.group.rules) < 2:
            return made
        first = made.flows[0]
        to_nowhere = (ToGroup(GroupId(0x01FFFF01)),)
        bad = Flow(table=first.table, priority=1, match=Match(), cookie=first.cookie, actions=to_nowhere)
        return FlowSet((*made.flows, bad), made.groups)

    monkeypatch.setattr(Compiler, "_group", corrupt)


async def test_a_frozen_switch_is_answered_in_time_and_undone_when_it_is_back(lab: Lab) -> None:
    await lab.apply_group("g1", PING[0])
    await lab.plug(lab.spec("p1", security_groups=(G1,)))
    there = flows(lab)
    with before(lab.engine.chassis, "settle", lab.ovs.freeze_vswitchd):
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            await lab.apply_group("g1", *PING, timeout_s=1.5)
        assert time.monotonic() - begun < 1.6
    assert caught.value.metadata["outcome"] == "UNKNOWN"
    lab.ovs.thaw_vswitchd()
    await until(lambda: flows(lab) == there, timeout_s=10)
    await lab.apply_group("g1", *PING)
    assert flows(lab) != there


async def test_a_switch_killed_in_the_middle_of_a_change(lab: Lab) -> None:
    await lab.apply_group("g1", PING[0])
    await lab.plug(lab.spec("p1", security_groups=(G1,)))

    def restart() -> None:
        lab.ovs.kill_vswitchd()
        lab.ovs.start_vswitchd()

    with before(lab.engine.chassis, "settle", restart):
        applied = await lab.apply_group("g1", *PING, level=Level.READBACK, timeout_s=15)
    assert proof(applied.ports[0]).level is Level.READBACK
    audit = await lab.engine.audit(repair=False, deadline=in_s(10))
    assert audit.findings == ()


async def test_a_caller_that_goes_away_leaves_a_change_that_is_done(lab: Lab) -> None:
    await lab.apply_group("g1", PING[0])
    await lab.plug(lab.spec("p1", security_groups=(G1,)))
    change = asyncio.create_task(lab.apply_group("g1", *PING))
    await until(lambda: lab.engine.store.security_groups()[G1].group.rules == PING)
    change.cancel()
    await asyncio.gather(change, return_exceptions=True)
    await until(lambda: lab.engine.security_group(G1).group.rules == PING)
    audit = await lab.engine.audit(repair=False, deadline=in_s(10))
    assert audit.findings == ()


async def test_a_port_that_is_not_there_to_be_seen_is_no_reason_to_refuse_a_change(lab: Lab) -> None:
    """Its namespace is gone: the change is confirmed on the others, and the port is shown as it is."""
    await lab.apply_group("g1")
    with Namespace() as one:
        await lab.plug(lab.inside("p1", one, 5, security_groups=(G1,)))
    await until(lambda: lab.port("p1").binding.state_reason == "AWAITING_NAMESPACE")
    await lab.plug(lab.spec("p2", security_groups=(G1,)))
    applied = await lab.apply_group("g1", *PING, level=Level.READBACK)
    assert [port.binding.state for port in applied.ports] == [PortState.DOWN, PortState.ACTIVE]
    with pytest.raises(Refused) as caught:
        await lab.update("p1", project_id="blue")
    assert caught.value.reason == "AWAITING_NAMESPACE"


@pytest.mark.parametrize("whose", ["the port's own", "its group's", "of the members that its group names"])
async def test_a_port_is_not_confirmed_while_its_groups_are_not_in_the_switch(lab: Lab, whose: str) -> None:
    """READBACK covers what the port depends on: one flow less of it, and the plug fails."""
    await lab.apply_group("g2")
    await lab.apply_group("g1", *(replace(rule, remote_security_group=G2) for rule in PING))
    await lab.plug(lab.spec("p2", fixed_ips=addresses("10.1.0.6"), security_groups=(G2,)))
    kind = {"the port's own": 3, "its group's": CookieKind.SECURITY_GROUP}.get(whose, CookieKind.MEMBER)

    def tamper() -> None:
        lab.ovs.ovs_ofctl("del-flows", BRIDGE, f"cookie={0x0FC1 << 48 | kind << 32:#x}/0xffff00ff00000000")

    with before(lab.engine.chassis, "read_back", tamper), pytest.raises(DriverError) as caught:
        await lab.plug(lab.spec("p1", security_groups=(G1,)), level=Level.READBACK)
    assert (caught.value.reason, caught.value.metadata["outcome"]) == ("READBACK_DIFFERS", "ABSENT")
    (port,) = await lab.plug(lab.spec("p1", security_groups=(G1,)), level=Level.READBACK)
    await lab.see(port, lab.port("p2"))


async def test_drift_in_a_group_s_flows_is_mended(lab: Lab) -> None:
    await lab.apply_group("g1", *PING)
    await lab.plug(lab.spec("p1", security_groups=(G1,)))
    there = flows(lab)
    lab.ovs.ovs_ofctl("del-flows", BRIDGE, "table=110")
    await until(lambda: flows(lab) == there)


async def test_groups_of_another_shape_change_the_ports_too(lab: Lab) -> None:
    """From stateful to stateless and back: the port's own flows change with its group."""
    group = SecurityGroup(security_group_id=G1, rules=PING)
    await lab.engine.apply_security_group(group, level=Level.DATAPATH, deadline=in_s(5))
    await lab.plug(lab.spec("p1", security_groups=(G1,)))
    there = flows(lab)
    await lab.apply_group("g1", *PING, stateful=False, level=Level.READBACK)
    assert flows(lab) != there
    await lab.apply_group("g1", *PING, level=Level.READBACK)
    assert flows(lab) == there


async def test_connections_that_are_not_allowed_any_more_are_taken_out(lab: Lab) -> None:
    """Those that the new rules allow stay. One of ICMPv6 does not go by itself: OVS 3.1 does not survive that.

    What the guest may send is narrow here: if it might send what it answered, the connections would have to stay.
    """
    narrow = SecurityRule(direction=RuleDirection.EGRESS, protocol=6)
    udp = [
        SecurityRule(direction=IN, protocol=17, ports=Ports(port, port), ip_version=version)
        for version in (4, 6)
        for port in (5000, 5001)
    ]
    await lab.apply_group("g1", *PING, *udp, narrow)
    with Namespace() as one, Namespace() as two:
        await lab.plug(lab.inside("p1", one, 5, security_groups=(G1,)), lab.inside("p2", two, 6))
        for address in ("10.1.0.5", "fd00:1::5"):
            assert two.pings(address)
            for port in ("5000", "5001"):
                two.run("python3", "-c", SEND, address, port)
        assert len(connections(lab)) == 6
        await lab.apply_group("g1", *PING, *(rule for rule in udp if rule.ports == Ports(5001, 5001)), narrow)
        await until(lambda: len(connections(lab)) == 4)
        assert not [line for line in connections(lab) if "dport=5000" in line]
        await lab.apply_group("g2", *udp, narrow)
        await lab.update("p1", security_groups=(G2,))
        await until(lambda: not [line for line in connections(lab) if line.startswith("icmp,")])
        assert len([line for line in connections(lab) if "dport=5001" in line]) == 2
        await until(lambda: lab.engine.book.counters["connections.flushed"] == 3)


SEND = (
    "import socket, sys; a, p = sys.argv[1:]; i = socket.getaddrinfo(a, p, type=socket.SOCK_DGRAM)[0]; "
    "socket.socket(i[0], i[1]).sendto(b'x', i[4])"
)


def connections(lab: Lab) -> list[str]:
    """Return what is in the zone of p1."""
    zone = lab.port("p1").binding.numbers.zone
    return lab.ovs.appctl("dpctl/dump-conntrack", f"zone={zone}").splitlines()
