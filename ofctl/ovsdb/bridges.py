"""The settings of a bridge that ofctl owns, and the operations that give them to a bridge."""

from __future__ import annotations

import hashlib
from typing import Any

from ofctl.errors import AttachError, NotFound, OfctlError
from ofctl.model.ids import Dpid, HostId
from ofctl.model.vif import DatapathType
from ofctl.ovsdb.attachments import foreign_bridge, refuse_port_name
from ofctl.ovsdb.notation import insert, merge, mutate, named, ovs_map, ovs_set, reference, row_name, update
from ofctl.ovsdb.operation import Operation
from ofctl.ovsdb.replica import Json, identity
from ofctl.ovsdb.switch_view import ROOT, SwitchView
from ofctl.ovsdb.values import GUEST_KEY, OWNER_KEY, BridgeSpec, BridgeState


class EnsureBridge(Operation[SwitchView, BridgeState]):
    """A bridge with our mark and settings. `adopt`: also one that is there without our mark."""

    def __init__(self, spec: BridgeSpec, *, host_id: HostId, default_type: DatapathType, adopt: bool) -> None:
        super().__init__(f"bridge:{spec.name}", f"device:{spec.name}")
        self.spec = spec
        self.host_id = host_id
        self.default_type = default_type
        self.adopt = adopt

    def build(self, view: SwitchView) -> list[Json]:
        view.root()
        state = view.bridge_state(self.spec.name)
        if state is None:
            if self.adopt:
                raise no_such_bridge(self.spec.name)
            refuse_port_name(view, self.spec.name)
            datapath_type = self.spec.datapath_type or self.default_type
            columns = wanted_columns(self.spec, self.host_id, datapath_type)
            return new_bridge(self.spec.name, columns, guest=self.spec.guest)
        if not state.ours and not self.adopt:
            raise foreign_bridge(state.name, state.owner, self.host_id)
        return self._changed(view.bridges[self.spec.name], state)

    def _changed(self, row: Any, state: BridgeState) -> list[Json]:
        wanted = wanted_columns(self.spec, self.host_id, self.spec.datapath_type or state.datapath_type)
        maps = {name: wanted.pop(name) for name in ("other_config", "external_ids")}
        uuid = identity(row)
        return [
            update("Bridge", uuid, wanted),
            *(
                mutate("Bridge", [["_uuid", "==", reference(uuid)]], *merge(name, dict(pairs[1])))
                for name, pairs in maps.items()
            ),
        ]

    def result(self, view: SwitchView, marker: int) -> BridgeState:  # noqa: ARG002
        name = self.spec.name
        state = view.bridge_state(name)
        local = view.interface_state(name)
        if state is None or local is None:
            raise AttachError(f"bridge {name} was removed by another client of the database", subject=name)
        wanted = wanted_dpid(self.spec, self.host_id)
        if local.error or state.dpid != wanted:
            text = local.error or f"its datapath id is {state.dpid} instead of {wanted}"
            raise AttachError(
                f"ovs-vswitchd cannot make bridge {name} with datapath type {state.datapath_type.value}: {text}; "
                "look at the log of ovs-vswitchd",
                subject=name,
                metadata={"ovs_error": local.error},
            )
        return state

    def explain(self, failure: str) -> OfctlError:
        return AttachError(
            f"ovsdb-server refused the change of bridge {self.spec.name}: {failure}",
            subject=self.spec.name,
            metadata={"ovsdb_error": failure},
        )


class RemoveGuestBridge(Operation[SwitchView, None]):
    """No bridge of that name, if it is one that was made for a guest."""

    def __init__(self, name: str) -> None:
        super().__init__(f"bridge:{name}", f"device:{name}")
        self.name = name

    def build(self, view: SwitchView) -> list[Json]:
        view.root()
        state = view.bridge_state(self.name)
        if state is None:
            return []
        if not (state.ours and state.guest):
            raise foreign_bridge(state.name, state.owner, view.host_id)
        gone = reference(identity(view.bridges[self.name]))
        return [mutate(ROOT, [], ["bridges", "delete", ovs_set([gone])])]

    def result(self, view: SwitchView, marker: int) -> None:  # noqa: ARG002
        if view.bridge_state(self.name) is not None:
            raise AttachError(f"bridge {self.name} is still there: another client put it back", subject=self.name)


def bridge_dpid(host_id: HostId, bridge: str) -> Dpid:
    """Return the datapath id of a bridge: 64 bits that depend on the host's id and the bridge's name alone."""
    digest = hashlib.sha256(f"ofctl datapath id\0{host_id}\0{bridge}".encode()).digest()
    return Dpid(int.from_bytes(digest[:8], "big") or 1)


def wanted_dpid(spec: BridgeSpec, host_id: HostId) -> Dpid:
    """Return the datapath id that a bridge is to have."""
    return bridge_dpid(host_id, spec.name) if spec.dpid is None else spec.dpid


def wanted_columns(spec: BridgeSpec, host_id: HostId, datapath_type: DatapathType) -> Json:
    """Return the columns of an owned bridge; of the two maps only our keys (ovs-vswitchd.conf.db(5), Bridge).

    In-band control would add hidden flows above ours; snooping and spanning tree act on frames that no flow sent.
    """
    return {
        "datapath_type": datapath_type.value,
        "fail_mode": "secure",
        "protocols": ovs_set(sorted(spec.protocols)),
        "controller": ovs_set([]),
        "mcast_snooping_enable": False,
        "stp_enable": False,
        "rstp_enable": False,
        "other_config": ovs_map(our_config(spec, host_id)),
        "external_ids": ovs_map({OWNER_KEY: host_id}),
    }


def our_config(spec: BridgeSpec, host_id: HostId) -> dict[str, str]:
    """Return our keys of other_config."""
    return {"disable-in-band": "true", "datapath-id": f"{wanted_dpid(spec, host_id):016x}"}


def new_bridge(name: str, columns: Json, *, guest: str = "") -> list[Json]:
    """Return the operations that make a bridge with its local port."""
    owner = columns["external_ids"]
    marks = ovs_map({**dict(owner[1]), GUEST_KEY: guest}) if guest else owner
    interface, port, bridge = row_name("interface", name), row_name("port", name), row_name("bridge", name)
    return [
        insert("Interface", {"name": name, "type": "internal", "external_ids": owner}, name=interface),
        insert("Port", {"name": name, "interfaces": named(interface), "external_ids": owner}, name=port),
        insert(
            "Bridge", {"name": name, "ports": ovs_set([named(port)]), **columns, "external_ids": marks}, name=bridge
        ),
        mutate(ROOT, [], ["bridges", "insert", ovs_set([named(bridge)])]),
    ]


def changes_of(state: BridgeState, spec: BridgeSpec, host_id: HostId) -> tuple[str, ...]:
    """Return in sentences what `EnsureBridge` would change on a bridge that is there."""
    config = dict(state.other_config)
    pairs: list[tuple[str, str, str]] = [
        ("owner mark", state.owner, host_id),
        ("datapath_type", state.datapath_type.value, (spec.datapath_type or state.datapath_type).value),
        ("fail_mode", state.fail_mode, "secure"),
        ("protocols", ", ".join(state.protocols), ", ".join(sorted(spec.protocols))),
        ("controllers", ", ".join(state.controllers), ""),
        ("mcast_snooping_enable", str(state.mcast_snooping).lower(), "false"),
        ("stp_enable", str(state.stp).lower(), "false"),
        ("rstp_enable", str(state.rstp).lower(), "false"),
    ]
    pairs += [(f"other_config:{key}", config.get(key, ""), value) for key, value in our_config(spec, host_id).items()]
    return tuple(
        f"{what}: {before or '(none)'} becomes {after or '(none)'}" for what, before, after in pairs if before != after
    )


def no_such_bridge(name: str) -> NotFound:
    """Return the error for a bridge that is not there."""
    return NotFound(f"there is no bridge {name}", reason="BRIDGE_NOT_FOUND", subject=name)
