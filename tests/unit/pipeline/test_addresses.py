"""Which addresses a port may use."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofctl.model.ids import MacAddress
from ofctl.model.security import AddressPair
from ofctl.pipeline.addresses import EVERYTHING, Sender, is_secured, link_local, senders
from ofctl.pipeline.world import WorldPort
from tests.unit.pipeline.worlds import EXAMPLE, port

PORT = port(2, 2)
VIRTUAL = MacAddress("00:00:5e:00:01:07")
LINK_LOCAL = "fe80::5054:ff:fe00:2"


def with_addresses(*addresses: str, pairs: tuple[tuple[str, str | None], ...] = ()) -> WorldPort:
    given = tuple(AddressPair(ip_network(net), None if mac is None else MacAddress(mac)) for net, mac in pairs)
    return replace(PORT, addresses=tuple(map(ip_address, addresses)), address_pairs=given)


def texts(sender: Sender) -> set[str]:
    makers = {4: "0.0.0.0/0", 6: "::/0"}
    networks = (type(ip_network(makers[each.version]))((each.value, each.length)) for each in sender.prefixes)
    return {str(each) for each in networks}


def test_a_port_without_addresses_is_bound_to_its_mac_address_only() -> None:
    assert senders(PORT) == (Sender(PORT.mac_number, EVERYTHING),)
    own, virtual = senders(with_addresses(pairs=(("10.0.0.9/32", VIRTUAL),)))
    assert own.prefixes == EVERYTHING and texts(virtual) == {"10.0.0.9/32"}
    (own,) = senders(with_addresses(pairs=(("10.0.0.9/32", None),)))
    assert texts(own) == {"10.0.0.9/32", f"{LINK_LOCAL}/128"}


def test_fixed_addresses_pairs_and_the_link_local_address() -> None:
    pairs = (("10.7.0.0/16", None), ("10.7.1.0/24", None), ("10.0.0.2/32", None), ("10.0.0.9/32", VIRTUAL))
    own, virtual = senders(with_addresses("10.0.0.2", "fd00::2", pairs=pairs))
    assert texts(own) == {"10.0.0.2/32", "10.7.0.0/16", "fd00::2/128", f"{LINK_LOCAL}/128"}
    assert texts(virtual) == {"10.0.0.9/32"} and not virtual.of_version(6)
    _, virtual = senders(with_addresses("10.0.0.2", pairs=(("fd00::9/128", VIRTUAL),)))
    assert texts(virtual) == {"fd00::9/128", "fe80::200:5eff:fe00:107/128"}


@pytest.mark.parametrize(
    ("mac", "address"), [(0x525400000002, LINK_LOCAL), (0x021122334455, "fe80::11:22ff:fe33:4455")]
)
def test_link_local_addresses_are_made_of_mac_addresses(mac: int, address: str) -> None:
    assert link_local(mac).value == int(ip_address(address))


@given(st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0", "fd00::/8", "fd00::5/128"])))
def test_no_address_is_in_two_prefixes(networks: list[str]) -> None:
    (own,) = senders(with_addresses("10.1.2.3", pairs=tuple((each, None) for each in dict.fromkeys(networks))))
    for one in own.prefixes:
        others = [each for each in own.prefixes if each is not one and each.version == one.version]
        assert not [each for each in others if (one.value ^ each.value) & one.mask & each.mask == 0]


def test_the_port_has_the_last_word_on_whether_it_is_checked() -> None:
    closed, opened = EXAMPLE.networks[PORT.network], replace(EXAMPLE.networks[PORT.network], port_security=False)
    for network, said, checked in (
        (closed, None, True),
        (closed, False, False),
        (opened, None, False),
        (opened, True, True),
    ):
        world = replace(EXAMPLE, networks={PORT.network: network})
        assert is_secured(replace(PORT, port_security=said), world) is checked
