"""Strategies for every value of the model that the store holds."""

from __future__ import annotations

import ipaddress

from hypothesis import strategies as st

from ofctl.model.confirmation import Confirmation, Level, Outcome, RequestRecord, StageTiming
from ofctl.model.ids import (
    DeviceName,
    Dpid,
    MacAddress,
    NetworkId,
    OfPort,
    PhysicalNetwork,
    PortId,
    PortIndex,
    RequestId,
)
from ofctl.model.network import IpInterface, Network, NetworkType, Subnet
from ofctl.model.port import (
    Activation,
    Binding,
    BindingNumbers,
    NamespaceConsumer,
    PortSpec,
    PortState,
    Recovery,
    Route,
    VifType,
    VmConsumer,
)
from tests.functional.ovsdb.conftest import HOST

NETWORK = NetworkId("net-1")
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,30}", fullmatch=True)
DEVICES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", fullmatch=True).filter(lambda name: name != "lo")
NUMBERS = st.integers(0, 2**62)
ADDRESSES = st.ip_addresses()


@st.composite
def interfaces(draw: st.DrawFn) -> IpInterface:
    address = draw(ADDRESSES)
    return ipaddress.ip_interface(f"{address}/{draw(st.integers(0, address.max_prefixlen))}")


NETWORKS_OF_ADDRESSES = interfaces().map(lambda interface: interface.network)


def macs() -> st.SearchStrategy[MacAddress]:
    """Unicast addresses: the lowest bit of the first octet is 0 (IEEE 802)."""
    return (
        st.binary(min_size=6, max_size=6)
        .filter(any)
        .map(lambda octets: MacAddress(":".join(f"{octet:02x}" for octet in (octets[0] & 0xFE or 2, *octets[1:]))))
    )


def consumers() -> st.SearchStrategy[object]:
    owner = st.none() | st.integers(0, 2**32 - 2)
    return st.builds(VmConsumer, owner_uid=owner, owner_gid=owner, multi_queue=st.booleans()) | st.builds(
        NamespaceConsumer,
        netns_path=TEXT.map(lambda text: "/" + text),
        interface_name=DEVICES.map(DeviceName),
        addresses=st.lists(interfaces(), max_size=4).map(tuple),
        routes=st.lists(st.builds(Route, destination=NETWORKS_OF_ADDRESSES, via=st.none() | ADDRESSES), max_size=4).map(
            tuple
        ),
        container=st.booleans(),
    )


def specs() -> st.SearchStrategy[PortSpec]:
    return st.builds(
        PortSpec,
        port_id=IDS.map(PortId),
        network_id=st.just(NETWORK),
        host_id=st.just(HOST),
        consumer=consumers(),
        project_id=TEXT,
        device_id=TEXT,
        device_owner=TEXT,
        labels=st.dictionaries(TEXT.filter(bool), TEXT, max_size=4).map(lambda labels: tuple(sorted(labels.items()))),
        annotations=st.dictionaries(TEXT.filter(bool).map("app/{}".format), TEXT, max_size=4).map(
            lambda fields: tuple(sorted(fields.items()))
        ),
        mac_address=macs(),
        fixed_ips=st.lists(ADDRESSES, max_size=4, unique=True).map(tuple),
        mtu=st.integers(68, 65_521),
        requested_device=st.none() | DEVICES.map(DeviceName),
        vif_types=st.frozensets(st.sampled_from(VifType)),
        recovery=st.sampled_from(Recovery),
    )


def confirmations() -> st.SearchStrategy[Confirmation]:
    return st.builds(
        Confirmation,
        level=st.sampled_from(Level),
        stages=st.lists(st.builds(StageTiming, stage=TEXT, duration_us=NUMBERS), max_size=12).map(tuple),
        ifindex=st.integers(1, 2**31 - 1),
        ofport=st.integers(1, 0xFEFF).map(OfPort),
        dpid=st.integers(0, 2**64 - 1).map(Dpid),
        connection_generation=NUMBERS,
        bundle_id=st.integers(0, 2**32 - 1),
        barrier_xid=st.integers(0, 2**32 - 1),
        flow_count=NUMBERS,
        flow_digest=TEXT,
        confirmed_at_ms=NUMBERS,
    )


def bindings() -> st.SearchStrategy[Binding]:
    """Bindings whose numbers are to be replaced by those that the store gave."""
    return st.builds(
        Binding,
        spec=specs(),
        device=DEVICES.map(DeviceName),
        numbers=st.just(BindingNumbers(index=PortIndex(1), slot=0)),
        activation=st.sampled_from(Activation),
        state=st.sampled_from(PortState),
        state_reason=TEXT,
        state_since_ms=NUMBERS,
        request_id=IDS.map(RequestId),
        principal=TEXT,
        revision=NUMBERS,
        confirmation=st.none() | confirmations(),
    )


def records() -> st.SearchStrategy[RequestRecord]:
    return st.builds(
        RequestRecord,
        request_id=IDS.map(RequestId),
        port_id=IDS.map(PortId),
        host_id=st.just(HOST),
        outcome=st.sampled_from(Outcome),
        reason=TEXT,
        message=TEXT,
        at_ms=NUMBERS,
    )


@st.composite
def networks(draw: st.DrawFn) -> Network:
    kind = draw(st.sampled_from([NetworkType.LOCAL, NetworkType.FLAT, NetworkType.VLAN]))
    subnets: list[Subnet] = []
    for cidr in draw(st.lists(NETWORKS_OF_ADDRESSES, max_size=4)):
        if not any(other.cidr.version == cidr.version and other.cidr.overlaps(cidr) for other in subnets):
            host = cidr.network_address + 1 if cidr.num_addresses > 3 and draw(st.booleans()) else None
            subnets.append(Subnet(cidr=cidr, gateway=host))
    return Network(
        network_id=NetworkId(draw(IDS)),
        name=draw(TEXT),
        network_type=kind,
        segmentation_id=draw(st.integers(1, 4094)) if kind is NetworkType.VLAN else None,
        physical_network=None if kind is NetworkType.LOCAL else PhysicalNetwork(draw(TEXT.filter(bool))),
        mtu=draw(st.integers(1280, 65_521)),
        subnets=tuple(subnets),
    )
