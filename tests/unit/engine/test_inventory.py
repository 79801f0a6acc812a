"""Admission: what is refused, with which error, at which field; and that a refusal or a release leaves no claim."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest

from ofctl.engine.inventory import Inventory
from ofctl.errors import AlreadyExists, InvalidField, NotFound, OfctlError, Refused, ResourceExhausted
from ofctl.model.ids import DeviceName, HostId, MacAddress, NetworkId, NetworkIndex, PhysicalNetwork, PortId
from ofctl.model.network import Network, NetworkType, NumberedNetwork, Subnet
from ofctl.model.port import NamespaceConsumer, PortSpec, VifType, VmConsumer

HOST = HostId("h1")
MAC = MacAddress("52:54:00:00:00:01")
V4 = Subnet(cidr=ipaddress.ip_network("10.0.0.0/24"), gateway=ipaddress.ip_address("10.0.0.1"))
V6 = Subnet(cidr=ipaddress.ip_network("fd00::/64"))
NET = Network(network_id=NetworkId("n1"), mtu=1450, subnets=(V4, V6))
TENANT = Network(
    network_id=NetworkId("n2"),
    network_type=NetworkType.VLAN,
    segmentation_id=10,
    physical_network=PhysicalNetwork("physnet1"),
)


def inventory(max_ports: int = 10) -> Inventory:
    made = Inventory(HOST, max_ports=max_ports, device_prefix="tap", physical_networks={})
    made.put_network(NumberedNetwork(network=NET, index=NetworkIndex(1)))
    made.put_network(NumberedNetwork(network=TENANT, index=NetworkIndex(2)))
    return made


def spec(name: str = "p1", **changes: Any) -> PortSpec:
    base = PortSpec(port_id=PortId(name), network_id=NET.network_id, host_id=HOST, consumer=VmConsumer())
    return replace(base, **changes)


def plugged(**changes: Any) -> Inventory:
    made = inventory()
    admitted, device = made.admit(spec(**changes))
    made.claim(admitted, device)
    return made


def test_defaults_come_from_the_network_and_from_the_id() -> None:
    admitted, device = inventory().admit(spec())
    again, _ = inventory().admit(spec())
    assert admitted.mtu == NET.mtu
    assert admitted.mac_address is not None
    assert admitted.mac_address == again.mac_address
    assert int(admitted.mac_address[:2], 16) & 3 == 2, "unicast and locally administered"
    assert device.startswith("tap") and len(device) == 15


@pytest.mark.parametrize(
    ("changes", "error", "where"),
    [
        ({"host_id": HostId("h2")}, NotFound, "port.host_id"),
        ({"network_id": NetworkId("nowhere")}, NotFound, "nowhere"),
        ({"network_id": TENANT.network_id}, Refused, "port.network_id"),
        ({"vif_types": frozenset({VifType.VHOST_USER})}, Refused, "port.vif_types"),
        ({"mtu": 1451}, InvalidField, "port.mtu"),
        ({"mtu": 1279, "fixed_ips": (ipaddress.ip_address("fd00::5"),)}, InvalidField, "port.mtu"),
        ({"fixed_ips": (ipaddress.ip_address("10.0.1.5"),)}, InvalidField, "port.fixed_ips[0]"),
        ({"fixed_ips": (ipaddress.ip_address("10.0.0.255"),)}, InvalidField, "port.fixed_ips[0]"),
        ({"fixed_ips": (ipaddress.ip_address("10.0.0.1"),)}, InvalidField, "port.fixed_ips[0]"),
    ],
)
def test_what_is_refused_of_a_single_port(changes: dict[str, Any], error: type[OfctlError], where: str) -> None:
    made = inventory()
    with pytest.raises(error) as caught:
        made.admit(spec(**changes))
    assert caught.value.subject == where
    assert len(made) == 0


INSIDE = NamespaceConsumer(netns_path="/run/netns/a")


@pytest.mark.parametrize(
    ("first", "second", "reason", "where"),
    [
        ({"mac_address": MAC}, {"mac_address": MAC}, "MAC_IN_USE", "port.mac_address"),
        (
            {"fixed_ips": (ipaddress.ip_address("10.0.0.5"),)},
            {"fixed_ips": (ipaddress.ip_address("fd00::1"), ipaddress.ip_address("10.0.0.5"))},
            "ADDRESS_IN_USE",
            "port.fixed_ips[1]",
        ),
        (
            {"requested_device": DeviceName("d0")},
            {"requested_device": DeviceName("d0")},
            "DEVICE_IN_USE",
            "port.device_name",
        ),
        ({"consumer": INSIDE}, {"consumer": INSIDE}, "INTERFACE_IN_USE", "port.namespace.interface_name"),
    ],
)
def test_what_one_port_has_another_cannot_get_until_it_is_released(
    first: dict[str, Any], second: dict[str, Any], reason: str, where: str
) -> None:
    made = plugged(**first)
    with pytest.raises(AlreadyExists) as caught:
        made.admit(spec("p2", **second))
    assert (caught.value.reason, caught.value.subject) == (reason, where)
    assert "p1" in str(caught.value)
    made.release((PortId("p1"), HOST))
    made.admit(spec("p2", **second))


def test_the_same_addresses_are_free_on_another_network() -> None:
    made = plugged(mac_address=MAC)
    other = replace(NET, network_id=NetworkId("n3"))
    made.put_network(NumberedNetwork(network=other, index=NetworkIndex(3)))
    made.admit(spec("p2", mac_address=MAC, network_id=other.network_id))


def test_capacity() -> None:
    made = inventory(max_ports=1)
    made.claim(*made.admit(spec()))
    with pytest.raises(ResourceExhausted, match="max_ports"):
        made.admit(spec("p2"))


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"mac_address": MacAddress("52:54:00:00:00:09")}, False),
        ({"project_id": "other"}, False),
        ({"consumer": VmConsumer(multi_queue=True)}, False),
        ({"mtu": 1450}, True),
        ({"mtu": 1400}, False),
        ({"requested_device": DeviceName("d0")}, False),
    ],
)
def test_a_spec_asks_for_the_port_that_is_there_if_all_that_it_says_is_so(changes: dict[str, Any], same: bool) -> None:
    assert plugged().same_as_claimed(spec(**changes)) is same


def test_a_network_in_use_keeps_what_its_ports_need() -> None:
    made = plugged(fixed_ips=(ipaddress.ip_address("10.0.0.5"),))
    for changed in (replace(NET, mtu=1400), replace(NET, subnets=(V6,))):
        with pytest.raises(Refused) as caught:
            made.check_network(changed)
        assert caught.value.reason == "NETWORK_IN_USE"
    with pytest.raises(Refused, match="p1"):
        made.check_network_unused(NET.network_id)
    made.check_network(replace(NET, mtu=9000, name="bigger"))


def test_two_networks_cannot_share_a_segment() -> None:
    with pytest.raises(AlreadyExists, match="VLAN 10"):
        inventory().check_network(replace(TENANT, network_id=NetworkId("n4")))
