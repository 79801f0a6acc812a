"""Strategies for every value of the model that the store holds."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

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
from ofctl.model.security import (
    ICMP,
    ICMPV6,
    PROTOCOLS,
    WITH_PORTS,
    AddressGroup,
    AddressGroupId,
    AddressPair,
    GroupMember,
    IcmpMessage,
    Ports,
    RuleDirection,
    SecurityGroup,
    SecurityGroupId,
    SecurityRule,
)
from tests.functional.ovsdb.conftest import HOST

NETWORK = NetworkId("net-1")
SELF, OTHER = SecurityGroupId("web"), SecurityGroupId("db")
ADDRESSES_OF = AddressGroupId("offices")
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
        allowed_address_pairs=st.lists(
            st.builds(AddressPair, NETWORKS_OF_ADDRESSES, st.none() | macs()), max_size=4, unique=True
        ).map(tuple),
        port_security=st.none() | st.booleans(),
        security_groups=st.lists(st.sampled_from([SELF, OTHER]), unique=True).map(tuple),
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
    """Outcomes of plugs and of updates, which end in UNCHANGED where a plug ends in ABSENT."""
    return plug_records() | plug_records().map(
        lambda record: replace(
            record, update=True, outcome=Outcome.UNCHANGED if record.outcome is Outcome.ABSENT else record.outcome
        )
    )


def plug_records() -> st.SearchStrategy[RequestRecord]:
    return st.builds(
        RequestRecord,
        request_id=IDS.map(RequestId),
        port_id=IDS.map(PortId),
        host_id=st.just(HOST),
        outcome=st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.UNCHANGED]),
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
        port_security=draw(st.booleans()),
        neighbor_replies=draw(st.booleans()),
        flood_unknown_neighbors=draw(st.booleans()),
    )


@st.composite
def rules(draw: st.DrawFn) -> SecurityRule:
    protocol = draw(st.none() | st.sampled_from([*PROTOCOLS.values()]) | st.integers(0, 255))
    versions = {ICMP: 4, ICMPV6: 6}
    version = draw(st.sampled_from([None, versions[protocol]] if protocol in versions else [None, 4, 6]))
    prefix = draw(st.none() | NETWORKS_OF_ADDRESSES)
    if prefix is not None and prefix.version != (versions.get(protocol or 0) or version or prefix.version):
        prefix = None
    group = draw(st.none() | st.sampled_from([SELF, OTHER])) if prefix is None else None
    address_group = ADDRESSES_OF if prefix is None and group is None and draw(st.booleans()) else None
    ends = sorted(draw(st.lists(st.integers(0, 0xFFFF), min_size=2, max_size=2)))
    octets = st.integers(0, 255)
    return SecurityRule(
        direction=draw(st.sampled_from(RuleDirection)),
        ip_version=version,
        protocol=protocol,
        ports=Ports(*ends) if protocol in WITH_PORTS and draw(st.booleans()) else None,
        icmp=IcmpMessage(draw(octets), draw(st.none() | octets))
        if protocol in versions and draw(st.booleans())
        else None,
        remote_prefix=prefix,
        remote_security_group=group,
        remote_address_group=address_group,
    )


def security_groups() -> st.SearchStrategy[SecurityGroup]:
    """The group SELF, whose rules name itself, OTHER and the address group ADDRESSES_OF."""
    members = st.builds(GroupMember, IDS.map(NetworkId), NETWORKS_OF_ADDRESSES)
    return st.builds(
        SecurityGroup,
        security_group_id=st.just(SELF),
        name=TEXT,
        stateful=st.booleans(),
        rules=st.lists(rules(), max_size=6, unique=True).map(tuple),
        members=st.lists(members, max_size=4, unique=True).map(tuple),
    )


def address_groups() -> st.SearchStrategy[AddressGroup]:
    return st.builds(
        AddressGroup,
        address_group_id=st.just(ADDRESSES_OF),
        name=TEXT,
        addresses=st.lists(NETWORKS_OF_ADDRESSES, max_size=6, unique=True).map(tuple),
    )
