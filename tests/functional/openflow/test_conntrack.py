"""What the connection tracker of the userspace datapath does, with real frames: what security groups stand on.

Every packet of a connection is judged by rules matched on the connection's original tuple, so that a rule that goes
stops it at once. The zone's number is 5 throughout.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from ofctl.errors import DeadlineExceeded, DriverError, SwitchUnavailable
from ofctl.openflow.conntrack import ConnectionTuple, Echo
from ofctl.openflow.revalidation import Revalidators
from ofctl.openflow.switch import Switch
from ofctl.openflow.zones import ZoneLimit, Zones
from ofctl.pipeline import fields as f
from ofctl.pipeline.changes import AddFlow, DeleteFlow
from ofctl.pipeline.fields import RegisterSlice
from ofctl.pipeline.flow import (
    Action,
    Conjunction,
    Conntrack,
    Cookie,
    Flow,
    Match,
    Output,
    Resubmit,
    SetField,
    Table,
    Term,
)
from ofctl.pipeline.match import ct_state
from ofctl.sandbox.ovs import PrivateOvs
from tests.functional.openflow.conftest import BRIDGE, within
from tests.functional.openflow.frames import ETHERTYPES, TRAFFIC_ENDS, Hosts, Way, numbers

FIRST, STATE, VERDICT, BEHIND, ON = (
    Table(number, name, "test", "test")
    for number, name in enumerate(("first", "state", "verdict", "behind", "on"), start=0)
)
ZONE = 5
MARK = 7
GROUP = RegisterSlice("group", 0, 0, 16)
TRACKED = ct_state("+trk-inv")
NO_FRAGMENT, FIRST_FRAGMENT, LATER_FRAGMENT = Term(f.IP_FRAG, 0), Term(f.IP_FRAG, 1), Term(f.IP_FRAG, 3)
SYN, ACK, SYN_ACK = 0x02, 0x10, 0x12
families = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture
def hosts(bridge: PrivateOvs) -> Iterator[Hosts]:
    for number in (1, 2):
        near, far = f"near{number}", f"far{number}"
        subprocess.run(["ip", "link", "add", near, "type", "veth", "peer", "name", far], check=True)
        for device in (near, far):
            Path(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6").write_text("1")
            subprocess.run(["ip", "link", "set", device, "up"], check=True)
        bridge.vsctl("add-port", BRIDGE, near, "--", "set", "interface", near, f"ofport_request={number}")
    hosts = Hosts()
    yield hosts
    hosts.close()


def flow(table: Table, priority: int, *terms: Term, actions: tuple[Action, ...] = ()) -> Flow:
    return Flow(table, priority, Match.of(*terms), Cookie(1), actions)


def tracking(family: int, *, commit: bool = True) -> list[Flow]:
    """Track everything, let on in VERDICT what gets there; a datagram's fragments only together."""
    ip = Term(f.ETH_TYPE, ETHERTYPES[family])
    mark = (MARK, 0xFF)
    keep: tuple[Action, ...] = (Conntrack(ZONE, commit=True, mark=mark),) if commit else ()
    gate = (
        (ct_state("+trk-inv+new"), Conntrack(ZONE, commit=True, mark=mark, table=BEHIND)),
        (ct_state("+trk-inv-new"), Conntrack(ZONE, table=BEHIND)),
    )
    flows = [
        flow(FIRST, 10, ip, actions=(SetField(GROUP, 1), Conntrack(ZONE, table=STATE))),
        flow(FIRST, 20, Term(f.ETH_TYPE, TRAFFIC_ENDS), actions=(Resubmit(ON),)),
        flow(VERDICT, 10, ip, NO_FRAGMENT, ct_state("+trk-inv+new"), actions=(*keep, Resubmit(ON))),
        flow(VERDICT, 10, ip, NO_FRAGMENT, ct_state("+trk-inv-new"), actions=(Resubmit(ON),)),
        flow(BEHIND, 10, ip, TRACKED, actions=(Resubmit(ON),)),
        flow(ON, 10, Term(f.IN_PORT, 1), actions=(Output(2),)),
        flow(ON, 10, Term(f.IN_PORT, 2), actions=(Output(1),)),
    ]
    for state, tracked in gate:
        flows.append(flow(STATE, 30, ip, LATER_FRAGMENT, state, actions=(tracked,)))
        flows.append(flow(VERDICT, 10, ip, FIRST_FRAGMENT, state, actions=(tracked,)))
    return flows


def source_term(family: int) -> Term:
    return Term(f.CT_NW_SRC if family == 4 else f.CT_IPV6_SRC, numbers(Way(family, 1))[0])


def services(family: int) -> dict[str, tuple[Term, ...]]:
    """What host 1 may open: UDP to 48-63, TCP to 80, echo."""
    ip, protocol, port = Term(f.ETH_TYPE, ETHERTYPES[family]), f.CT_NW_PROTO, f.CT_TP_DST
    ping = (Term(protocol, 1), Term(f.CT_TP_SRC, 8)) if family == 4 else (Term(protocol, 58), Term(f.CT_TP_SRC, 128))
    return {
        "udp": (ip, TRACKED, Term(protocol, 17), Term(port, 48, 0xFFF0)),
        "tcp": (ip, TRACKED, Term(protocol, 6), Term(port, 80)),
        "echo": (ip, TRACKED, *ping, Term(port, 0)),
    }


def plain_rules(family: int) -> dict[str, list[Flow]]:
    go = (Resubmit(VERDICT),)
    return {
        name: [flow(STATE, 20, *terms, source_term(family), actions=go)] for name, terms in services(family).items()
    }


def conjunctive_rules(family: int) -> dict[str, list[Flow]]:
    ip = Term(f.ETH_TYPE, ETHERTYPES[family])
    rules = {}
    for number, (name, terms) in enumerate(services(family).items(), start=100):
        rules[name] = [
            flow(STATE, 20, *terms, Term(GROUP, 1), actions=(Conjunction(number, 2, 2),)),
            flow(STATE, 20, ip, Term(f.CONJ_ID, number), TRACKED, actions=(Resubmit(VERDICT),)),
        ]
    everybody = tuple(Conjunction(number, 1, 2) for number in range(100, 100 + len(rules)))
    rules["who"] = [flow(STATE, 20, ip, TRACKED, source_term(family), actions=everybody)]
    return rules


async def install(switch: Switch, *flows: Flow) -> None:
    await switch.commit([AddFlow(each) for each in flows], deadline=within(5))


@families
@pytest.mark.parametrize("rules_of", [plain_rules, conjunctive_rules])
async def test_every_packet_is_judged_by_the_tuple_of_the_one_who_began(
    bridge: PrivateOvs, switch: Switch, hosts: Hosts, family: int, rules_of: object
) -> None:
    assert callable(rules_of)
    rules: dict[str, list[Flow]] = rules_of(family)
    await install(switch, *tracking(family), *(each for flows in rules.values() for each in flows))
    there, back = Way(family, 1), Way(family, 2)
    router = "10.0.0.99" if family == 4 else "fd00::99"
    question, answer = there.udp(1000, 53), back.udp(53, 1000)

    def both(way: Way, packet: bytes) -> int:
        return hosts.arrived(way, packet) + hosts.arrived(way, packet)  # By the tables, and by what is cached.

    assert both(there, question) == 2
    assert both(back, answer) == 2
    assert both(there, question) == 2
    assert both(there, there.tcp(1001, 80, SYN)) == 2
    assert both(back, back.tcp(80, 1001, SYN_ACK, 500, 2)) == 2
    assert both(there, there.tcp(1001, 80, ACK, 2, 501)) == 2
    assert both(there, there.echo()) == 2
    assert both(back, back.echo(reply=True)) == 2
    assert both(back, back.unreachable(question)) == 2
    assert both(back, back.unreachable(question, router)) == 2
    assert both(there, there.unreachable(answer)) == 2
    # What nobody allowed: from the other side, to another port, about nothing, an answer without a question.
    assert both(back, back.udp(1000, 53)) == 0
    assert both(there, there.udp(1000, 64)) == 0
    assert both(there, there.tcp(1000, 53, SYN)) == 0
    assert both(back, back.unreachable(there.udp(7777, 53))) == 0
    assert both(back, back.echo(reply=True, identifier=77)) == 0
    assert {each.mark for each in await Zones(bridge.rundir).connections(ZONE, deadline=within(5))} == {MARK}
    # A rule goes: its connections stop at once, both ways, the others go on.
    revalidators = Revalidators(bridge.rundir, switch)
    await switch.commit([DeleteFlow(each) for each in rules["udp"]], deadline=within(5))
    await revalidators.settle(deadline=within(5))
    await revalidators.close()
    assert both(there, question) + both(back, answer) + both(back, back.unreachable(question)) == 0
    assert both(back, back.tcp(80, 1001, ACK, 501, 2)) == 2


@families
async def test_a_datagram_passes_whole_or_not_at_all(
    bridge: PrivateOvs, switch: Switch, hosts: Hosts, family: int
) -> None:
    """Later fragments have no ports in their original tuple. They wait in the second ct for the first one."""
    there, back = Way(family, 1), Way(family, 2)
    rules = plain_rules(family)
    udp = (Term(f.ETH_TYPE, ETHERTYPES[family]), TRACKED, Term(f.CT_NW_PROTO, 17), Term(f.CT_TP_DST, 53))
    judged = flow(STATE, 40, *udp, actions=(Resubmit(ON),))
    await install(switch, *tracking(family), judged)
    assert hosts.arrived(there, *there.fragments(1000, 53, 1)) == 1  # The first alone has the port.
    await switch.commit([DeleteFlow(judged), *map(AddFlow, rules["udp"])], deadline=within(5))
    bridge.appctl("revalidator/purge")
    for identification in (2, 3):
        assert hosts.arrived(there, *there.fragments(1000, 53, identification)) == 3
        assert hosts.arrived(there, *there.fragments(1000, 64, 10 + identification)) == 0
        assert hosts.arrived(back, *back.fragments(53, 1000, identification)) == 3
    assert hosts.arrived(there, *reversed(there.fragments(1000, 53, 4))) == 3
    assert hosts.arrived(there, *there.fragments(1000, 53, 5)[1:]) == 0
    assert len(await Zones(bridge.rundir).connections(ZONE, deadline=within(5))) == 1


async def test_neighbour_discovery_is_invalid(switch: Switch, hosts: Hosts) -> None:
    six = Term(f.ETH_TYPE, ETHERTYPES[6])
    await install(switch, *tracking(6), flow(STATE, 30, six, ct_state("+trk+inv"), actions=(Resubmit(ON),)))
    way = Way(6, 1)
    assert hosts.arrived(way, way.solicitation()) == 1
    assert hosts.arrived(way, way.echo()) == 0


@families
async def test_a_full_zone_lets_the_packet_pass_and_forgets_it(
    bridge: PrivateOvs, switch: Switch, hosts: Hosts, family: int
) -> None:
    zones = Zones(bridge.rundir)
    await zones.set_limits({ZONE: 2, 9: 100}, deadline=within(5))
    await install(switch, *tracking(family), *plain_rules(family)["udp"])
    there, back = Way(family, 1), Way(family, 2)
    for port in (1000, 1001, 1002):
        assert hosts.arrived(there, there.udp(port, 53), there.udp(port, 53)) == 2
    # Its answer is a connection that the other side begins, which is not allowed.
    assert [hosts.arrived(back, back.udp(53, port)) for port in (1000, 1001, 1002)] == [1, 1, 0]
    assert await zones.limits(deadline=within(5)) == {ZONE: ZoneLimit(2, 2), 9: ZoneLimit(100, 0)}
    await zones.set_limits({ZONE: 1}, deadline=within(5))
    assert hosts.arrived(there, there.udp(1000, 53)) == 1
    assert len(await zones.connections(ZONE, deadline=within(5))) == 2
    await switch.flush_connections([ZONE, 9], deadline=within(5))
    assert await zones.limits(deadline=within(5)) == {ZONE: ZoneLimit(1, 0), 9: ZoneLimit(100, 0)}
    await zones.delete_limits([ZONE, 9, 77], deadline=within(5))
    assert await zones.limits(deadline=within(5)) == {}


@families
async def test_connections_are_told_and_removed_by_their_original_tuple(
    bridge: PrivateOvs, switch: Switch, hosts: Hosts, family: int
) -> None:
    zones = Zones(bridge.rundir)
    there, back = Way(family, 1), Way(family, 2)
    await install(switch, *tracking(family), *(each for flows in plain_rules(family).values() for each in flows))
    for packet in (there.udp(1000, 53), there.udp(1001, 53), there.udp(1000, 54), there.echo()):
        hosts.arrived(there, packet)
    hosts.arrived(there, there.tcp(1001, 80, SYN))
    hosts.arrived(back, back.tcp(80, 1001, SYN_ACK, 500, 2))
    hosts.arrived(there, there.tcp(1001, 80, ACK, 2, 501))
    here, far = ip_address(there.source), ip_address(there.destination)

    async def left() -> set[ConnectionTuple]:
        return {each.original for each in await zones.connections(ZONE, deadline=within(5))}

    ping = ConnectionTuple(1 if family == 4 else 58, here, far, echo=Echo(9, 8 if family == 4 else 128, 0))
    udp = {ConnectionTuple(17, here, far, 1000, 53), ConnectionTuple(17, here, far, 1001, 53)}
    other, web = ConnectionTuple(17, here, far, 1000, 54), ConnectionTuple(6, here, far, 1001, 80)
    assert await left() == {ping, *udp, other, web}
    tcp = next(each for each in await zones.connections(ZONE, deadline=within(5)) if each.original == web)
    assert (tcp.zone, tcp.mark, tcp.state) == (ZONE, MARK, "ESTABLISHED")
    assert tcp.reply == ConnectionTuple(6, far, here, 80, 1001)
    assert await zones.connections(6, deadline=within(5)) == []

    await switch.flush_connections(6, deadline=within(5))
    await switch.flush_connections(6, udp, deadline=within(5))
    await switch.flush_connections(ZONE, ConnectionTuple(17, far), deadline=within(5))
    assert await left() == {ping, *udp, other, web}
    await switch.flush_connections(ZONE, ConnectionTuple(17, here, destination_port=53), deadline=within(5))
    assert await left() == {ping, other, web}
    if family == 6:
        for deadly in (ping, ConnectionTuple(58), ConnectionTuple(source=here)):
            with pytest.raises(ValueError, match="ICMPv6"):
                await switch.flush_connections(ZONE, deadly, deadline=within(5))
        await switch.flush_connections(ZONE, web, deadline=within(5))
        assert await left() == {ping, other}
        await switch.flush_connections(ZONE, deadline=within(5))
    else:
        with pytest.raises(ValueError, match="all of them"):
            await switch.flush_connections(ZONE, ConnectionTuple(1, here), deadline=within(5))
        await switch.flush_connections(ZONE, [ping, web], deadline=within(5))
        assert await left() == {other}
        await switch.flush_connections(ZONE, ConnectionTuple(source=here), deadline=within(5))
    assert await left() == set()
    hosts.arrived(there, there.udp(1000, 53))
    await switch.flush_connections([4, ZONE], deadline=within(5))
    assert await left() == set()


async def test_limits_are_lost_with_the_switch_and_errors_have_names(bridge: PrivateOvs, switch: Switch) -> None:
    zones = Zones(bridge.rundir)
    await zones.set_limits(dict.fromkeys(range(1, 3001), 8192), deadline=within(5))
    assert len(await zones.limits(deadline=within(5))) == 3000
    with pytest.raises(ValueError, match="70000"):
        await zones.set_limits({70000: 5}, deadline=within(5))
    with pytest.raises(DriverError, match="ct-get-limits"):
        await Zones(bridge.rundir, datapath_type="nonsense").limits(deadline=within(5))
    bridge.freeze_vswitchd()
    with pytest.raises(DeadlineExceeded, match="dump-conntrack"):
        await zones.connections(ZONE, deadline=within(0.1))
    with pytest.raises(SwitchUnavailable):
        await switch.flush_connections(ZONE, deadline=within(0.1))
    bridge.thaw_vswitchd()
    bridge.kill_vswitchd()
    with pytest.raises(SwitchUnavailable):
        await zones.limits(deadline=within(5))
    bridge.start_vswitchd()
    assert await zones.limits(deadline=within(5)) == {}
