"""The declaration refuses what would not work; numbers do not collide."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofctl.model.ids import NetworkIndex, PortIndex
from ofctl.pipeline.fields import RegisterSlice
from ofctl.pipeline.flow import Table
from ofctl.pipeline.tables import (
    CLASSIFY,
    DELIVER,
    FORWARD,
    MAX_NETWORK_INDEX,
    MAX_PORT_INDEX,
    MAX_SHARDS,
    PATHS,
    REGISTER_SLICES,
    TABLES,
    CookieKind,
    check_declaration,
    cookie,
    flood_group_id,
    host_cookie,
    is_guest_group,
    is_learned,
    is_ours,
    learned_cookie,
    network_cookie,
    port_cookie,
)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (replace(CLASSIFY, name="other"), "number 0"),
        (replace(CLASSIFY, number=5), "name classify"),
        (Table(150, "nowhere", "someone", "Lies between the stages."), "no stage"),
        (Table(255, "nowhere", "someone", "No table in OpenFlow."), "no stage"),
        (Table(5, "ownerless", "", "Nobody's."), "no owner"),
    ],
)
def test_a_bad_table_is_refused(table: Table, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_declaration((*TABLES, table), REGISTER_SLICES, PATHS)


def test_overlapping_register_slices_are_refused() -> None:
    check_declaration(TABLES, (*REGISTER_SLICES, RegisterSlice("NEXT", 0, 16, 16)), PATHS)
    with pytest.raises(ValueError, match="SHARED overlaps"):
        check_declaration(TABLES, (*REGISTER_SLICES, RegisterSlice("SHARED", 0, 15, 2)), PATHS)


@pytest.mark.parametrize("path", [(DELIVER, FORWARD), (FORWARD, FORWARD), (FORWARD, Table(60, "x", "y", "z"))])
def test_a_path_back_or_to_nowhere_is_refused(path: tuple[Table, Table]) -> None:
    with pytest.raises(ValueError, match=r"path forward|path deliver"):
        check_declaration(TABLES, REGISTER_SLICES, (*PATHS, path))


@given(st.integers(1, MAX_PORT_INDEX), st.integers(1, MAX_NETWORK_INDEX))
def test_cookies_tell_what_they_are_for(port: int, network: int) -> None:
    cookies = [
        host_cookie(),
        network_cookie(NetworkIndex(network)),
        port_cookie(PortIndex(port)),
        learned_cookie(NetworkIndex(network)),
    ]
    assert len(set(cookies)) == 4
    assert all(is_ours(value) and value < 2**64 for value in cookies)
    assert [is_learned(value) for value in cookies] == [False, False, False, True]
    assert not any(is_ours(value) for value in (0, port, 2**64 - 1))


def test_a_cookie_index_over_32_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bits"):
        cookie(CookieKind.PORT, 2**32)


def test_flood_groups_of_all_networks_differ() -> None:
    corners = [NetworkIndex(1), NetworkIndex(2), NetworkIndex(255), NetworkIndex(256), MAX_NETWORK_INDEX]
    ids = {flood_group_id(network, shard) for network in corners for shard in range(MAX_SHARDS)}
    assert len(ids) == len(corners) * MAX_SHARDS
    assert all(0 < group_id < 0xFFFFFF00 and not is_guest_group(group_id) for group_id in ids)
    for network, shard in ((0, 0), (MAX_NETWORK_INDEX + 1, 0), (1, MAX_SHARDS), (1, -1)):
        with pytest.raises(ValueError, match="no flood group"):
            flood_group_id(NetworkIndex(network), shard)
