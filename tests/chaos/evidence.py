"""What the switch and the databases have, as OVS's own programs tell it: flows by cookie, zones, groups."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from ofctl.sandbox.sandbox import Sandbox
from tests.chaos.faults import BRIDGE

OWNER = 0x0FC1
PORT, PROBE, GROUP, MEMBER, MUTED = 3, 5, 6, 7, 0x10
"""Kinds of cookies (docs/pipeline.md)."""


def flows_of(sandbox: Sandbox, port_id: str, groups: Collection[str]) -> int:
    """Return how many flows a port depends on: its own, its groups' rules, the addresses that these name.

    An address has a flow for each direction, and for stateful and stateless rules: all count.

    Raises ProcessFailed.
    """
    bindings = _rows(sandbox, "Binding", "port_id", "port_index")
    index = next((row["port_index"] for row in bindings if row["port_id"] == port_id), None)
    indexes = {row["security_group_id"]: row["group_index"] for row in _group_rows(sandbox)}
    named = {indexes[name] for name in groups}
    own, rules, members = 0, [], []
    for kind, number, line in _flows(sandbox):
        if kind == PORT and number == index:
            own += 1
        elif kind == GROUP and number in named:
            rules.append(line)
        elif kind == MEMBER:
            members.append(line)
    asked = {each for line in rules for each in _conjunctions(line)}
    named_places = {_place(line) for line in members if not asked.isdisjoint(_conjunctions(line))}
    return own + len(rules) + sum(_place(line) in named_places for line in members)


def leaks_of(sandbox: Sandbox, clients: Collection[tuple[str, str, str]], shared: Collection[str]) -> list[str]:
    """Return what is there of groups, cookies and connections that nobody wants."""
    groups = {row["security_group_id"]: row["group_index"] for row in _group_rows(sandbox)}
    addresses = {row["address_group_id"] for row in _rows(sandbox, "AddressGroup", "address_group_id")}
    zones = {row["zone"] for row in _rows(sandbox, "Binding", "zone") if isinstance(row["zone"], int)}
    found = []
    wanted = {name for names in clients for name in names[:2]} | set(shared)
    if set(groups) != wanted:
        found.append(f"security groups {sorted(set(groups) ^ wanted)}")
    if addresses != {names[2] for names in clients}:
        found.append(f"address groups {sorted(addresses)}")
    flows = _flows(sandbox)
    conjunctions = {each for kind, _, line in flows if kind == GROUP for each in _conjunctions(line)}
    for kind, number, line in flows:
        nobodys = kind in (PROBE, MUTED, None) or (kind == GROUP and number not in groups.values())
        unnamed = kind == MEMBER and not conjunctions.issuperset(_conjunctions(line))
        changed = kind == GROUP and line.endswith("actions=drop")
        if nobodys or unnamed or changed:
            found.append(line)
    tracked = {int(text) for text in re.findall(r"zone=(\d+)", sandbox.ovs.appctl("dpctl/dump-conntrack"))}
    if not tracked <= zones:
        found.append(f"connections in zones {sorted(tracked - zones)}")
    return found


def _flows(sandbox: Sandbox) -> list[tuple[int | None, int, str]]:
    """Return kind (None: not ofctl's), index and text of every flow."""
    flows = []
    for line in sandbox.ovs.ovs_ofctl("dump-flows", BRIDGE).splitlines():
        found = re.search(r"cookie=(0x[0-9a-f]+)", line)
        if found is not None:
            cookie = int(found[1], 16)
            kind = cookie >> 32 & 0xFF if cookie >> 48 == OWNER else None
            flows.append((kind, cookie & 0xFFFFFFFF, line.strip()))
    return flows


def _conjunctions(line: str) -> set[int]:
    return {int(text) for text in re.findall(r"conjunction\((\d+),", line)}


def _place(line: str) -> tuple[str, ...]:
    """Return the network and the address that a member's flow is about."""
    found = re.search(r"cookie=(0x[0-9a-f]+).*(?:nw|ipv6)_(?:src|dst)=([^, ]+)", line)
    assert found is not None, line
    return found.groups()


def _group_rows(sandbox: Sandbox) -> list[dict[str, Any]]:
    return _rows(sandbox, "SecurityGroup", "security_group_id", "group_index")


def _rows(sandbox: Sandbox, table: str, *columns: str) -> list[dict[str, Any]]:
    query = json.dumps(["ofctl", {"op": "select", "table": table, "where": [], "columns": columns}])
    answer = json.loads(sandbox.ovs.command("ovsdb-client", "transact", sandbox.intents.connection, query))
    rows: list[dict[str, Any]] = answer[0]["rows"]
    return rows


def group_indexes(sandbox: Sandbox) -> list[int]:
    """Return the numbers of all security groups. Raises ProcessFailed."""
    return [row["group_index"] for row in _group_rows(sandbox)]
