"""Operations that make a device a port of a bridge, and undo it."""

from __future__ import annotations

from typing import Any

from ofctl.errors import AttachError, NotFound, OfctlError, Refused
from ofctl.model.ids import DeviceName, HostId
from ofctl.ovsdb.notation import insert, merge, mutate, named, optional, ovs_map, ovs_set, reference, row_name, update
from ofctl.ovsdb.operation import Operation
from ofctl.ovsdb.replica import Json, column, identity
from ofctl.ovsdb.switch_view import SwitchView
from ofctl.ovsdb.values import IFINDEX_KEY, OWNER_KEY, PORT_ID_KEY, Attached, Attachment, InterfaceState


class Attach(Operation[SwitchView, Attached]):
    """One Port and one Interface for a device of the kernel."""

    def __init__(self, wanted: Attachment) -> None:
        super().__init__(f"device:{wanted.device}")
        self.wanted = wanted

    def build(self, view: SwitchView) -> list[Json]:
        view.root()
        wanted = self.wanted
        bridge = our_bridge(view, wanted.bridge)
        state = view.interface_state(wanted.device)
        if state is None:
            refuse_port_name(view, wanted.device)
            return new_port(
                bridge,
                wanted.device,
                interface={"external_ids": ovs_map(external_ids(wanted)), "mtu_request": optional(wanted.mtu)},
                port={"external_ids": ovs_map(port_marks(wanted))},
            )
        check_ours(state, wanted)
        interface = view.interfaces[wanted.device]
        return [
            update("Interface", identity(interface), {"mtu_request": optional(wanted.mtu)}),
            mutate(
                "Interface",
                [["_uuid", "==", reference(identity(interface))]],
                *merge("external_ids", external_ids(wanted)),
            ),
        ]

    def result(self, view: SwitchView, marker: int) -> Attached:
        wanted = self.wanted
        state = view.interface_state(wanted.device)
        if state is None or state.bridge != wanted.bridge or not state.ours:
            raise AttachError(
                f"port {wanted.device} was removed from bridge {wanted.bridge} by another client of the database",
                subject=wanted.device,
            )
        return attached(state, marker)

    def explain(self, failure: str) -> OfctlError:
        return refused_by_database(self.wanted.device, failure)


class Detach(Operation[SwitchView, None]):
    """No Port and no Interface of that name. `foreign_too`: whoever made them."""

    def __init__(self, device: DeviceName, *, foreign_too: bool = False) -> None:
        super().__init__(f"device:{device}")
        self.device = device
        self.foreign_too = foreign_too

    def build(self, view: SwitchView) -> list[Json]:
        view.root()
        state = view.interface_state(self.device)
        if state is None:
            return []
        if state.port != self.device or not (state.ours or self.foreign_too):
            raise foreign_device(self.device, state)
        return remove_port(view.ports[self.device])

    def result(self, view: SwitchView, marker: int) -> None:  # noqa: ARG002
        state = view.interface_state(self.device)
        if state is not None and (state.ours or self.foreign_too):
            raise AttachError(
                f"port {self.device} is still on bridge {state.bridge}: another client put it back",
                subject=self.device,
            )

    def explain(self, failure: str) -> OfctlError:
        return refused_by_database(self.device, failure)


def attached(state: InterfaceState, marker: int) -> Attached:
    """Return the evidence for an interface after ovs-vswitchd has caught up. Raises AttachError if there is none."""
    if state.error or state.ofport is None:
        text = state.error or "no OpenFlow port number and no reason; look at the log of ovs-vswitchd"
        raise AttachError(
            f"ovs-vswitchd cannot attach {state.device} to bridge {state.bridge}: {text}",
            subject=state.device,
            metadata={"ovs_error": state.error, "bridge": state.bridge},
        )
    return Attached(
        device=state.device,
        bridge=state.bridge,
        ofport=state.ofport,
        ifindex=state.ifindex,
        mac_in_use=state.mac_in_use,
        next_cfg=marker,
    )


def external_ids(wanted: Attachment) -> dict[str, str]:
    """Return the pairs of the Interface row: those that other tools read (ovs-vswitchd.conf.db(5)), and our marks."""
    ids = dict(wanted.external_ids)
    ids |= {"iface-id": wanted.port_id, "attached-mac": wanted.mac_address, "iface-status": "active"}
    if wanted.device_id:
        ids["vm-uuid"] = wanted.device_id
    if wanted.ifindex is not None:
        ids[IFINDEX_KEY] = str(wanted.ifindex)
    return ids | port_marks(wanted)


def port_marks(wanted: Attachment) -> dict[str, str]:
    """Return the pairs that say whose row it is."""
    return {OWNER_KEY: wanted.host_id, PORT_ID_KEY: wanted.port_id}


def new_port(bridge: Any, device: str, *, interface: Json, port: Json) -> list[Json]:
    """Return the operations that put a port with one interface on a bridge that is there."""
    interface_name, port_name = row_name("interface", device), row_name("port", device)
    return [
        insert("Interface", {"name": device, **interface}, name=interface_name),
        insert("Port", {"name": device, "interfaces": named(interface_name), **port}, name=port_name),
        mutate(
            "Bridge",
            [["_uuid", "==", reference(identity(bridge))]],
            ["ports", "insert", ovs_set([named(port_name)])],
        ),
    ]


def remove_port(port: Any) -> list[Json]:
    """Return the operations that take a port off its bridge; its rows go with the last reference to them."""
    row = reference(identity(port))
    return [mutate("Bridge", [["ports", "includes", ovs_set([row])]], ["ports", "delete", ovs_set([row])])]


def our_bridge(view: SwitchView, name: str) -> Any:
    """Return the row of a bridge that bears our mark. Raises NotFound, Refused."""
    row = view.bridges.get(name)
    if row is None:
        raise NotFound(f"there is no bridge {name}", reason="BRIDGE_NOT_FOUND", subject=name)
    if not view.is_ours(row):
        raise foreign_bridge(name, column(row, "external_ids").get(OWNER_KEY, ""), view.host_id)
    return row


def foreign_bridge(name: str, owner: str, host_id: HostId) -> Refused:
    """Return the error for a bridge without our mark."""
    whose = f"belongs to ofctl on host {owner}" if owner else "was not made by ofctl"
    return Refused(
        f"bridge {name} {whose} and is left alone; see what `ofctl bridge adopt --dry-run {name}` would change, "
        f"then run `ofctl bridge adopt {name}` to give it to host {host_id}",
        reason="BRIDGE_FOREIGN",
        subject=name,
    )


def foreign_device(device: str, state: InterfaceState) -> Refused:
    """Return the error for a row that is not ours."""
    return Refused(
        f"the switch has an interface {device} on bridge {state.bridge or '(none)'} that ofctl did not make; remove it "
        "with ovs-vsctl or choose another device name",
        reason="DEVICE_FOREIGN",
        subject=device,
    )


def check_ours(state: InterfaceState, wanted: Attachment) -> None:
    """Refuse a row that is not for this attachment."""
    if not state.ours or state.port != state.device:
        raise foreign_device(wanted.device, state)
    if state.port_id != wanted.port_id:
        raise Refused(
            f"device {wanted.device} is attached for port {state.port_id or '(an uplink)'}; unplug that first",
            reason="DEVICE_IN_USE",
            subject=wanted.device,
        )
    if state.bridge != wanted.bridge:
        raise Refused(
            f"device {wanted.device} is attached to bridge {state.bridge}; detach it first",
            reason="DEVICE_IN_USE",
            subject=wanted.device,
        )


def refuse_port_name(view: SwitchView, device: str) -> None:
    """Refuse a name that a Port row has whose interfaces are named otherwise (a bond)."""
    if device in view.ports:
        raise Refused(
            f"the switch has a port {device} that ofctl did not make; choose another device name",
            reason="DEVICE_FOREIGN",
            subject=device,
        )


def refused_by_database(device: str, failure: str) -> AttachError:
    """Return the error for a change of one device that ovsdb-server refused."""
    return AttachError(
        f"ovsdb-server refused the change of {device}: {failure}", subject=device, metadata={"ovsdb_error": failure}
    )
