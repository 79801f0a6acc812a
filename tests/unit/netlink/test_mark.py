"""The owner mark: unambiguous, short enough, and read back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofctl.model.ids import HostId, MacAddress, PortId
from ofctl.netlink.mark import MAX_ALIAS_LENGTH, OwnerMark
from ofctl.netlink.specs import tap_mac

identifiers = st.from_regex(re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,254}", re.ASCII), fullmatch=True)


@given(host=identifiers, port=identifiers)
def test_a_mark_fits_and_is_read_back(host: str, port: str) -> None:
    mark = OwnerMark.of(HostId(host), PortId(port))
    assert len(str(mark).encode()) <= MAX_ALIAS_LENGTH
    assert OwnerMark.parse(str(mark)) == mark
    assert mark.is_of_host(HostId(host))
    assert mark.port_id in (None, port)


@given(host=identifiers, port=identifiers, other_host=identifiers, other_port=identifiers)
def test_two_ports_never_share_a_mark(host: str, port: str, other_host: str, other_port: str) -> None:
    same = (host, port) == (other_host, other_port)
    mine = OwnerMark.of(HostId(host), PortId(port))
    other = OwnerMark.of(HostId(other_host), PortId(other_port))
    assert (str(mine) == str(other)) is same


def test_a_colon_in_an_id_does_not_move_the_border() -> None:
    assert str(OwnerMark.of(HostId("a:b"), PortId("c"))) != str(OwnerMark.of(HostId("a"), PortId("b:c")))
    assert OwnerMark.of(HostId("a:b"), PortId("c:d")).port_id == "c:d"


def test_a_long_id_is_hashed() -> None:
    mark = OwnerMark.of(HostId("h"), PortId("p" * 255))
    assert mark.port_id is None
    assert mark != OwnerMark.of(HostId("h"), PortId("p" * 254))


@pytest.mark.parametrize("alias", ["", "ofctl", "ofctl:h", "ofctl::p", "ofctl:h:", "ofctl:h:p:q", "uplink of rack 3"])
def test_another_alias_is_no_mark(alias: str) -> None:
    assert OwnerMark.parse(alias) is None


@pytest.mark.parametrize(
    ("guest", "tap"),
    [("52:54:00:12:34:56", "fe:54:00:12:34:56"), ("fe:54:00:12:34:56", "fa:54:00:12:34:56")],
)
def test_the_tap_has_another_address_than_its_guest(guest: str, tap: str) -> None:
    assert tap_mac(MacAddress(guest)) == tap
