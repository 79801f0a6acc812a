"""Raw operations, names and the columns in use."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofctl.model.ids import HostId
from ofctl.ovsdb.bridges import bridge_dpid
from ofctl.ovsdb.notation import row_name, unsendable
from ofctl.ovsdb.schema import load_schema
from ofctl.ovsdb.switch_view import columns_in_use, lock_name
from ofctl.sandbox.ovs import SCHEMA_DIRECTORY

ID = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""RFC 7047, section 3.1: <id>."""
HOST_IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,20}", fullmatch=True)


@given(first=HOST_IDS, second=HOST_IDS)
def test_lock_and_row_names_are_ids_and_differ(first: str, second: str) -> None:
    for name in (lock_name(HostId(first)), row_name("port", first)):
        assert ID.fullmatch(name)
    assert (lock_name(HostId(first)) == lock_name(HostId(second))) == (first == second)
    assert (row_name("port", first) == row_name("port", second)) == (first == second)


def test_a_host_named_like_the_escape_of_another_has_its_own_lock() -> None:
    assert lock_name(HostId("a-b")) != lock_name(HostId("a_2d_b"))


@given(text=st.text(st.characters(), max_size=8))
def test_only_nulls_and_lone_surrogates_are_unsendable(text: str) -> None:
    expected = "\0" in text or any(0xD800 <= ord(character) < 0xE000 for character in text)
    assert unsendable([{"op": "insert", "row": {"labels": ["map", [["key", text]]]}}]) == expected


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "\0", "a\0\\u0000"])
def test_a_null_is_not_mistaken_for_its_notation(text: str) -> None:
    assert unsendable([{"text": text}]) == ("\0" in text)


def test_the_columns_in_use_are_those_of_the_installed_schema() -> None:
    installed = json.loads((SCHEMA_DIRECTORY / "vswitch.ovsschema").read_text())["tables"]
    for table, content in columns_in_use()["tables"].items():
        for name, column in content["columns"].items():
            theirs = installed[table]["columns"][name]["type"]
            assert shape(column["type"]) == shape(theirs), (table, name)
            assert name not in ("statistics", "status")


def shape(kind: object) -> object:
    """A column's type without its constraints."""
    if isinstance(kind, str):
        return (kind, None, 1, 1)
    assert isinstance(kind, dict)
    key = kind["key"]
    return (
        key if isinstance(key, str) else key["type"],
        kind.get("value"),
        kind.get("min", 1),
        kind.get("max", 1),
    )


def test_the_schema_under_etc_is_the_one_in_the_package() -> None:
    under_etc = Path(__file__).parents[3] / "etc" / "ofctl.ovsschema"
    assert json.loads(under_etc.read_text()) == load_schema()


def test_a_datapath_id_depends_on_host_and_bridge_alone() -> None:
    """A known value: a change would give every bridge another identity."""
    assert f"{bridge_dpid(HostId('compute-1'), 'br-int'):016x}" == "8494656cb975fc0c"
    assert bridge_dpid(HostId("compute-1"), "br-int") != bridge_dpid(HostId("compute-2"), "br-int")
    assert bridge_dpid(HostId("compute-1"), "br-int") != bridge_dpid(HostId("compute-1"), "br-two")
