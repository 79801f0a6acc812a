"""What the switch has against what it shall have, and whose ports the difference is about. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ofctl.model.ids import NetworkIndex, OfPort, PortIndex
from ofctl.openflow.images import GroupImage
from ofctl.openflow.oxm import WIRE_FIELDS
from ofctl.openflow.switch import DumpedFlow
from ofctl.openflow.wire import flow_image, group_image
from ofctl.pipeline.changes import AddFlow, AddGroup, DeleteFlow, DeleteFlowsByCookie, FlowKey, ModifyGroup
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.diff import Observed, Resync, diff_images
from ofctl.pipeline.fields import IN_PORT
from ofctl.pipeline.flow import Cookie, Flow, Group, GroupId
from ofctl.pipeline.tables import CookieKind, cookie_owner
from ofctl.pipeline.world import World

_IN_PORT = WIRE_FIELDS[IN_PORT.name].bare


@dataclass(frozen=True, slots=True)
class Comparison:
    """What must be sent, and the ports for which the switch does not do what it shall while that is not done."""

    resync: Resync
    affected: frozenset[PortIndex]
    flows: int
    """How many the switch has."""
    groups: int


def compare(
    compiler: Compiler,
    world: World,
    flows: Iterable[DumpedFlow],
    groups: Iterable[GroupImage],
    *,
    spared: Collection[Cookie] = (),
) -> Comparison:
    """Compare a complete dump with all that `world` needs. Flows with a cookie of `spared` are right as they are."""
    desired = compiler.compile_all(world)
    actual_flows: dict[FlowKey, Observed[object]] = {
        flow.key: Observed(Cookie(flow.cookie), flow.content) for flow in flows if flow.cookie not in spared
    }
    desired_flows: dict[FlowKey, tuple[Flow, object]] = {}
    for flow in desired.flows:
        image = flow_image(flow)
        desired_flows[image.key] = (flow, image.content)
    present = {GroupId(group.group_id): group for group in groups}
    actual_groups: dict[GroupId, object] = {
        group_id: (group.group_type, group.buckets) for group_id, group in present.items()
    }
    desired_groups: dict[GroupId, tuple[Group, object]] = {}
    for group in desired.groups:
        there = group_image(group)
        desired_groups[group.group_id] = (group, (there.group_type, there.buckets))
    on_the_path = frozenset(table.number for table in compiler.tables if not table.dynamic)
    resync = diff_images(actual_flows, desired_flows, actual_groups, desired_groups)
    affected = frozenset(_affected(world, resync, actual_flows, present, on_the_path))
    return Comparison(resync, affected, len(actual_flows), len(present))


def _affected(
    world: World,
    resync: Resync,
    actual: Mapping[FlowKey, Observed[object]],
    groups: Mapping[GroupId, GroupImage],
    on_the_path: frozenset[int],
) -> Iterator[PortIndex]:
    by_ofport = {port.ofport: port.index for port in world.ports.values()}
    for change in resync.changes:
        match change:
            case AddFlow(flow):
                yield from _owners(world, flow.cookie)
            case DeleteFlow(FlowKey() as key):
                if key.table_number in on_the_path:
                    yield from _under(world, key, actual[key].cookie, by_ofport)
            case AddGroup(group) | ModifyGroup(group):
                wanted = dict(group_image(group).buckets)
                there = groups.get(group.group_id)
                have = dict(there.buckets) if there is not None else {}
                for index in wanted.keys() | have.keys():
                    if wanted.get(index) != have.get(index) and index in world.ports:
                        yield PortIndex(index)
            case DeleteFlowsByCookie():
                pass  # Learned for a network that is gone.


def _owners(world: World, cookie: Cookie) -> Iterable[PortIndex]:
    """Return the ports that need the flow with this cookie of ours; all of them if it is nobody's in particular."""
    kind, index = cookie_owner(cookie)
    if kind is CookieKind.PORT:
        return (PortIndex(index),) if index in world.ports else ()
    if kind is CookieKind.NETWORK:
        network = NetworkIndex(index)
        return (port.index for shard in world.shards(network) for port in world.ports_of(network, shard))
    return world.ports


def _under(world: World, key: FlowKey, cookie: Cookie, by_ofport: Mapping[OfPort, PortIndex]) -> Iterable[PortIndex]:
    """Return the ports whose frames a flow that must not be there may have met.

    It is somebody else's, and what it does is not parsed: if it does not name one of our ports' ofport, it may have
    been any.
    """
    if cookie_owner(cookie)[0] is CookieKind.PORT:
        return _owners(world, cookie)
    if key.match.startswith(_IN_PORT):
        index = by_ofport.get(OfPort(int.from_bytes(key.match[4:8], "big")))
        return () if index is None else (index,)
    return world.ports
