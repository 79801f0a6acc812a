"""Messages to values and back: nothing is lost."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofctl.api import enums
from ofctl.api.convert import network_from_proto, network_to_proto, port_to_proto, spec_from_proto, spec_to_proto
from ofctl.api.convert_host import audit_to_proto
from ofctl.api.convert_security import (
    address_group_from_proto,
    address_group_to_proto,
    security_group_from_proto,
    security_group_to_proto,
)
from ofctl.api.security import confirmed
from ofctl.errors import InvalidField
from ofctl.model.audit import AuditReport, Finding, FindingKind
from ofctl.model.confirmation import Level
from ofctl.model.ids import DeviceName, HostId, MacAddress, NetworkId, PhysicalNetwork, PortId
from ofctl.model.network import Network, NetworkType, Subnet
from ofctl.model.port import NamespaceConsumer, PortSpec, Recovery, Route, VifType, VmConsumer
from ofctl.model.security import AddressGroup, AddressPair, SecurityGroup, SecurityGroupId
from ofctl.v1 import confirmation_pb2, host_pb2, network_pb2, port_pb2, security_pb2, vif_pb2
from tests.functional.api.memory import plugged
from tests.functional.ovsdb.intent_values import address_groups, security_groups

HOST = HostId("host-1")

ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,40}", fullmatch=True)
names = st.text(max_size=40)
devices = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", fullmatch=True).map(DeviceName)
macs = st.integers(1, 2**40).map(lambda n: MacAddress(":".join(f"{octet:02x}" for octet in (2, *n.to_bytes(6)[1:]))))
addresses = st.ip_addresses()
interfaces = st.tuples(addresses, st.integers(0, 32)).map(lambda pair: ipaddress.ip_interface(f"{pair[0]}/{pair[1]}"))
prefixes = interfaces.map(lambda interface: interface.network)
mtus = st.integers(1280, 65_521)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    destination = draw(prefixes)
    return Route(destination=destination, via=draw(st.none() | st.ip_addresses(v=destination.version)))


vms = st.builds(
    VmConsumer,
    owner_uid=st.none() | st.integers(0, 2**32 - 2),
    owner_gid=st.none() | st.integers(0, 2**32 - 2),
    multi_queue=st.booleans(),
)
namespaces = st.builds(
    NamespaceConsumer,
    netns_path=st.just("/run/netns/x"),
    interface_name=devices.filter(lambda name: name != "lo"),
    addresses=st.lists(interfaces, max_size=3).map(tuple),
    routes=st.lists(routes(), max_size=3).map(tuple),
    container=st.booleans(),
)
specs = st.builds(
    PortSpec,
    port_id=ids.map(PortId),
    network_id=ids.map(NetworkId),
    host_id=ids.map(HostId),
    consumer=vms | namespaces,
    project_id=names,
    device_id=names,
    device_owner=names,
    labels=st.dictionaries(names.filter(bool), names, max_size=3).map(lambda labels: tuple(sorted(labels.items()))),
    annotations=st.dictionaries(names.filter(bool).map("app/{}".format), names, max_size=3).map(
        lambda fields: tuple(sorted(fields.items()))
    ),
    mac_address=st.none() | macs,
    fixed_ips=st.lists(addresses, max_size=4, unique=True).map(tuple),
    allowed_address_pairs=st.lists(st.builds(AddressPair, prefixes, st.none() | macs), max_size=3, unique=True).map(
        tuple
    ),
    port_security=st.none() | st.booleans(),
    security_groups=st.lists(ids.map(SecurityGroupId), max_size=3, unique=True).map(tuple),
    mtu=st.none() | mtus,
    requested_device=st.none() | devices,
    vif_types=st.frozensets(st.sampled_from(VifType)),
    recovery=st.sampled_from(Recovery),
)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    kind = draw(st.sampled_from((NetworkType.LOCAL, NetworkType.FLAT, NetworkType.VLAN)))
    cidrs = draw(st.lists(st.sampled_from(("192.0.2.0/24", "198.51.100.0/31", "2001:db8::/64")), unique=True))
    subnets = []
    for cidr in map(ipaddress.ip_network, cidrs):
        subnets.append(Subnet(cidr=cidr, gateway=draw(st.none() | st.just(cidr[1]))))
    return Network(
        network_id=NetworkId(draw(ids)),
        name=draw(names),
        network_type=kind,
        segmentation_id=draw(st.integers(1, 4094)) if kind is NetworkType.VLAN else None,
        physical_network=None if kind is NetworkType.LOCAL else PhysicalNetwork("net1"),
        mtu=draw(mtus),
        subnets=tuple(subnets),
        port_security=draw(st.booleans()),
        neighbor_replies=draw(st.booleans()),
        flood_unknown_neighbors=draw(st.booleans()),
    )


@given(specs)
def test_a_port_survives_the_way_there_and_back(spec: PortSpec) -> None:
    sent = port_pb2.PortSpec.FromString(spec_to_proto(spec).SerializeToString())
    assert spec_from_proto(sent, host_id=HostId("another")) == spec


@given(networks())
def test_a_network_survives_the_way_there_and_back(network: Network) -> None:
    sent = network_pb2.Network.FromString(network_to_proto(network).SerializeToString())
    assert network_from_proto(sent) == network


@given(security_groups())
def test_a_security_group_survives_the_way_there_and_back(group: SecurityGroup) -> None:
    sent = security_pb2.SecurityGroup.FromString(security_group_to_proto(group).SerializeToString())
    assert security_group_from_proto(sent) == group


@given(address_groups())
def test_an_address_group_survives_the_way_there_and_back(group: AddressGroup) -> None:
    sent = security_pb2.AddressGroup.FromString(address_group_to_proto(group).SerializeToString())
    assert address_group_from_proto(sent) == group


def test_the_ports_that_a_group_concerns_fit_into_a_message() -> None:
    spec = PortSpec(port_id=PortId("p"), network_id=NetworkId("n"), host_id=HOST, consumer=VmConsumer())
    port = plugged(spec, level=Level.PIPELINE)
    few, many = confirmed([port] * 10), confirmed([port] * 12_000)
    assert few[0].confirmation.probe_frames and few[0].confirmation.stages
    assert not many[0].confirmation.probe_frames and many[0].confirmation.flow_digest
    assert sum(one.ByteSize() for one in many) < 2**22


@given(specs, st.sampled_from(Level))
def test_a_plugged_port_tells_its_spec_and_evidence(spec: PortSpec, level: Level) -> None:
    message = port_to_proto(plugged(spec, level=level, request_id="r1"))
    admitted = spec_from_proto(message.spec, host_id=HOST)
    assert (admitted.port_id, admitted.consumer, admitted.labels) == (spec.port_id, spec.consumer, spec.labels)
    assert message.confirmation.level == enums.LEVELS[min(level, Level.PIPELINE)]
    assert message.confirmation.flow_digest == "ab" * 32
    assert [frame.seen for frame in message.confirmation.probe_frames] == ["at port 7"] * (level >= Level.PIPELINE)
    assert bool(message.confirmation.level_note) == (level is Level.PROBE)
    details = message.vif_details
    assert details.WhichOneof("kind") == spec.vif_type.value
    assert getattr(details, spec.vif_type.value).device_name == details.device_name
    assert details.mac_address == message.spec.mac_address != ""


def test_defaults() -> None:
    message = port_pb2.PortSpec(port_id="p", network_id="n", namespace=port_pb2.NamespaceConsumer(netns_path="/n"))
    spec = spec_from_proto(message, host_id=HOST)
    assert spec == PortSpec(
        port_id=PortId("p"),
        network_id=NetworkId("n"),
        host_id=HOST,
        consumer=NamespaceConsumer(netns_path="/n", interface_name=DeviceName("eth0")),
    )
    network = network_from_proto(network_pb2.Network(network_id="n"))
    assert network == Network(network_id=NetworkId("n"), network_type=NetworkType.LOCAL, mtu=1500)


def test_a_report_that_is_too_long_is_cut_and_still_counts_all() -> None:
    lost = Finding(kind=FindingKind.FLOW_MISSING, subject="x" * 300, port_id=PortId("web"))
    mended = Finding(kind=FindingKind.DEVICE_DIFFERS, subject="tap1", repaired=True)
    foreign = Finding(kind=FindingKind.ROW_FOREIGN, subject="eth9")
    findings = (foreign, mended, *(lost for _ in range(10_000)))
    message = audit_to_proto(AuditReport(ports=1, devices=1, rows=1, flows=1, groups=1, findings=findings))
    assert (message.finding_count, message.left_count) == (10_002, 10_000)
    assert 1_000 < len(message.findings) < 10_000 and message.ByteSize() < 2**21 + 2**15
    assert message.findings[1].repaired and message.findings[2].port_id == "web"


@pytest.mark.parametrize(
    ("pairs", "values"),
    [
        (enums.LEVELS, confirmation_pb2.ConfirmationLevel.values()),
        (enums.OUTCOMES, confirmation_pb2.Outcome.values()),
        (enums.NETWORK_TYPES, network_pb2.NetworkType.values()),
        (enums.ACTIVATIONS, port_pb2.Activation.values()),
        (enums.PORT_STATES, port_pb2.PortState.values()),
        (enums.RECOVERIES, port_pb2.Recovery.values()),
        (enums.VIF_TYPES, vif_pb2.VifType.values()),
        (enums.DATAPATH_TYPES, vif_pb2.DatapathType.values()),
        (enums.EVENT_TYPES, port_pb2.WatchPortsResponse.EventType.values()),
        (enums.RULE_DIRECTIONS, security_pb2.RuleDirection.values()),
        (enums.FINDING_KINDS, host_pb2.FindingKind.values()),
    ],
)
def test_the_enumerations_have_the_same_members(pairs: enums.Pairs[Any, Any], values: list[int]) -> None:
    assert {0, *pairs.values()} == set(values)
    for member, number in pairs.items():
        assert pairs.model(number, "x") is member
    with pytest.raises(InvalidField, match="x: is 0"):
        pairs.model(0, "x")
