"""The rows of the Open_vSwitch database that ofctl uses, indexed by name. Lives in the thread of the replica."""

from __future__ import annotations

import uuid
from typing import Any

from ofctl.errors import Unavailable
from ofctl.model.ids import DeviceName, Dpid, HostId, OfPort
from ofctl.model.vif import DatapathType
from ofctl.ovsdb.notation import mutate
from ofctl.ovsdb.operation import View
from ofctl.ovsdb.replica import Json, column, identity
from ofctl.ovsdb.values import (
    GUEST_KEY,
    OWNER_KEY,
    BridgeChanged,
    BridgeState,
    InterfaceChanged,
    InterfaceState,
    VersionChanged,
)

ROOT = "Open_vSwitch"
_TEXT = {"type": "string"}
_BOOLEAN = {"type": "boolean"}
_INTEGER = {"type": "integer"}
_MANY = "unlimited"
_PAIRS = {"type": {"key": "string", "value": "string", "min": 0, "max": _MANY}}


def _at_most_one(kind: str) -> Json:
    return {"type": {"key": kind, "min": 0, "max": 1}}


def _references(table: str, *, least: int = 0) -> Json:
    return {"type": {"key": {"type": "uuid", "refTable": table}, "min": least, "max": _MANY}}


def columns_in_use() -> Json:
    """Return the part of the schema that is fetched (ovs-vswitchd.conf.db(5)).

    Never `statistics` or `status`: ovs-vswitchd rewrites those of every interface every five seconds.
    """
    tables = {
        ROOT: {
            "bridges": _references("Bridge"),
            "cur_cfg": _INTEGER,
            "next_cfg": _INTEGER,
            "ovs_version": _at_most_one("string"),
            "db_version": _at_most_one("string"),
        },
        "Bridge": {
            "name": _TEXT,
            "ports": _references("Port"),
            "datapath_type": _TEXT,
            "datapath_id": _at_most_one("string"),
            "fail_mode": _at_most_one("string"),
            "other_config": _PAIRS,
            "external_ids": _PAIRS,
            "protocols": {"type": {"key": "string", "min": 0, "max": _MANY}},
            "controller": _references("Controller"),
            "mcast_snooping_enable": _BOOLEAN,
            "stp_enable": _BOOLEAN,
            "rstp_enable": _BOOLEAN,
        },
        "Port": {"name": _TEXT, "interfaces": _references("Interface", least=1), "external_ids": _PAIRS},
        "Interface": {
            "name": _TEXT,
            "type": _TEXT,
            "ofport": _at_most_one("integer"),
            "error": _at_most_one("string"),
            "ifindex": _at_most_one("integer"),
            "mac_in_use": _at_most_one("string"),
            "external_ids": _PAIRS,
        },
        "Controller": {"target": _TEXT},
    }
    return {
        "name": ROOT,
        "version": "8.0.0",
        "tables": {name: {"columns": columns, "isRoot": name == ROOT} for name, columns in tables.items()},
    }


class SwitchView(View):
    """Bridges, ports and interfaces by name, and which is on which."""

    def __init__(self, host_id: HostId) -> None:
        super().__init__(columns_in_use())
        self.host_id = host_id
        self.lock = lock_name(host_id)
        self.bridges: dict[str, Any] = {}
        self.ports: dict[str, Any] = {}
        self.interfaces: dict[str, Any] = {}
        self._port_of: dict[uuid.UUID, Any] = {}
        self._bridge_of: dict[uuid.UUID, Any] = {}
        self._touched_interfaces: set[str] = set()
        self._touched_bridges: set[str] = set()
        self._told_interfaces: dict[str, InterfaceState] = {}
        self._told_bridges: dict[str, BridgeState] = {}
        self._told_versions = VersionChanged("", "")

    def root(self) -> Any:
        """Return the only row of table Open_vSwitch. Raises Unavailable before `ovs-vsctl init`."""
        for row in self.tables[ROOT].rows.values():
            return row
        raise Unavailable("the Open vSwitch database is empty; run `ovs-vsctl init`", reason="OVS_NOT_INITIALISED")

    def row_changed(self, event: str, row: Any, old: Any) -> None:
        kind = row._table.name
        if kind == "Interface":
            _index(self.interfaces, event, row)
            self._touched_interfaces.add(column(row, "name"))
        elif kind == "Port":
            _index(self.ports, event, row)
            self._port_changed(event, row)
        elif kind == "Bridge":
            _index(self.bridges, event, row)
            self._bridge_changed(event, row, old)

    def _port_changed(self, event: str, row: Any) -> None:
        for member in column(row, "interfaces"):
            if event != "delete":
                self._port_of[member] = row
            elif self._port_of.get(member) == row:
                del self._port_of[member]
        self._touch_members(row)

    def _bridge_changed(self, event: str, row: Any, old: Any) -> None:
        self._touched_bridges.add(column(row, "name"))
        now = set() if event == "delete" else column(row, "ports")
        if event == "update":
            before = column(old, "ports") if "ports" in old._data else now
        else:
            before = column(row, "ports") if event == "delete" else set()
        for port in before - now:
            if self._bridge_of.get(port) == row:
                del self._bridge_of[port]
        for port in now - before:
            self._bridge_of[port] = row
        for port in before ^ now:
            if (port_row := self.tables["Port"].rows.get(port)) is not None:
                self._touch_members(port_row)

    def _touch_members(self, port: Any) -> None:
        rows = self.tables["Interface"].rows
        self._touched_interfaces.update(
            column(rows[member], "name") for member in column(port, "interfaces") if member in rows
        )

    def refill(self) -> None:
        for index in (self.bridges, self.ports, self.interfaces, self._port_of, self._bridge_of):
            index.clear()
        for table in ("Interface", "Port", "Bridge"):
            for row in self.tables[table].rows.values():
                self.row_changed("create", row, None)
        self._touched_interfaces.update(self._told_interfaces)
        self._touched_bridges.update(self._told_bridges)

    def take_events(self) -> list[object]:
        events: list[object] = []
        for name in self._touched_bridges:
            bridge = self.bridge_state(name)
            if bridge != self._told_bridges.get(name):
                _tell(self._told_bridges, name, bridge)
                events.append(BridgeChanged(name, bridge))
        for name in self._touched_interfaces:
            interface = self.interface_state(name)
            if interface != self._told_interfaces.get(name):
                _tell(self._told_interfaces, name, interface)
                events.append(InterfaceChanged(DeviceName(name), interface))
        self._touched_bridges.clear()
        self._touched_interfaces.clear()
        for row in self.tables[ROOT].rows.values():
            versions = VersionChanged(column(row, "ovs_version") or "", column(row, "db_version") or "")
            if versions != self._told_versions:
                self._told_versions = versions
                events.append(versions)
        return events

    def ending(self) -> list[Json]:
        """Ask ovs-vswitchd to reconfigure, and learn the number that `cur_cfg` will reach (ovs-vsctl(8), --no-wait)."""
        return [
            mutate(ROOT, [], ["next_cfg", "+=", 1]),
            {"op": "select", "table": ROOT, "where": [], "columns": ["next_cfg"]},
        ]

    def marker(self, results: list[Any]) -> int:
        return int(results[1]["rows"][0]["next_cfg"])

    def reached(self, marker: int) -> bool:
        return any(column(row, "cur_cfg") >= marker for row in self.tables[ROOT].rows.values())

    def port_of(self, interface: Any) -> Any:
        """Return the Port row of an Interface row, or None."""
        return self._port_of.get(identity(interface))

    def bridge_of(self, port: Any) -> Any:
        """Return the Bridge row of a Port row, or None."""
        return self._bridge_of.get(identity(port))

    def is_ours(self, row: Any) -> bool:
        """Tell whether a row bears this host's owner mark."""
        return bool(column(row, "external_ids").get(OWNER_KEY) == self.host_id)

    def interface_state(self, name: str) -> InterfaceState | None:
        """Return a row of Interface as a value, or None."""
        row = self.interfaces.get(name)
        if row is None:
            return None
        port = self.port_of(row)
        bridge = None if port is None else self.bridge_of(port)
        ofport = column(row, "ofport")
        external_ids = column(row, "external_ids")
        return InterfaceState(
            device=DeviceName(name),
            bridge="" if bridge is None else column(bridge, "name"),
            port="" if port is None else column(port, "name"),
            interface_type=column(row, "type"),
            ofport=OfPort(ofport) if ofport is not None and ofport > 0 else None,
            error=column(row, "error") or "",
            ifindex=column(row, "ifindex") or None,
            mac_in_use=column(row, "mac_in_use") or "",
            external_ids=tuple(sorted(external_ids.items())),
            ours=external_ids.get(OWNER_KEY) == self.host_id,
        )

    def bridge_state(self, name: str) -> BridgeState | None:
        """Return a row of Bridge as a value, or None."""
        row = self.bridges.get(name)
        if row is None:
            return None
        dpid = column(row, "datapath_id")
        controllers = self.tables["Controller"].rows
        marks = column(row, "external_ids")
        owner = marks.get(OWNER_KEY, "")
        return BridgeState(
            name=name,
            owner=owner,
            ours=owner == self.host_id,
            dpid=Dpid(int(dpid, 16)) if dpid else None,
            datapath_type=DatapathType(column(row, "datapath_type") or "system"),
            fail_mode=column(row, "fail_mode") or "",
            protocols=tuple(sorted(column(row, "protocols"))),
            controllers=tuple(sorted(column(controllers[uuid_], "target") for uuid_ in column(row, "controller"))),
            other_config=tuple(sorted(column(row, "other_config").items())),
            mcast_snooping=column(row, "mcast_snooping_enable"),
            stp=column(row, "stp_enable"),
            rstp=column(row, "rstp_enable"),
            guest=marks.get(GUEST_KEY, ""),
        )


def lock_name(host_id: HostId) -> str:
    """Return the name of a host's lock: an <id> of RFC 7047, section 3.1 (letters, digits, underscores).

    What an <id> cannot have is written as its code in hexadecimal, `compute-1` as `ofctl_compute_2d_1`.
    """
    return "ofctl_" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in host_id)


def _index(index: dict[str, Any], event: str, row: Any) -> None:
    name = column(row, "name")
    if event != "delete":
        index[name] = row
    elif index.get(name) == row:
        del index[name]


def _tell(told: dict[str, Any], name: str, state: object | None) -> None:
    if state is None:
        told.pop(name, None)
    else:
        told[name] = state
