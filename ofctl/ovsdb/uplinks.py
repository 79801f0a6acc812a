"""Operations that connect an integration bridge to a physical network, and undo it."""

from __future__ import annotations

import hashlib
from typing import Any

from ofctl.errors import AttachError, InvalidField, OfctlError, Refused
from ofctl.model.ids import DeviceName, PhysicalNetwork
from ofctl.ovsdb.attachments import attached, foreign_device, new_port, our_bridge, refuse_port_name, remove_port
from ofctl.ovsdb.bridges import new_bridge, no_such_bridge
from ofctl.ovsdb.notation import insert, mutate, named, ovs_map, ovs_set, reference, row_name
from ofctl.ovsdb.operation import Operation
from ofctl.ovsdb.replica import Json, column, identity
from ofctl.ovsdb.switch_view import ROOT, SwitchView
from ofctl.ovsdb.values import OWNER_KEY, UPLINK_KEY, InterfaceState, Uplink, UplinkSpec


class AttachUplink(Operation[SwitchView, Uplink]):
    """A port of the integration bridge that leads to a physical network."""

    def __init__(self, spec: UplinkSpec) -> None:
        device = uplink_device(spec)
        super().__init__(f"uplink:{spec.physical_network}", *(f"device:{name}" for name in (device, *spec.devices)))
        self.spec = spec
        self.device = device

    def build(self, view: SwitchView) -> list[Json]:
        view.root()
        bridge = our_bridge(view, self.spec.bridge)
        self._refuse_another(view)
        if not self.spec.peer_bridge and len(self.spec.devices) == 1:
            return self._port(view, bridge, self.device, {})
        ours, theirs = patch_names(self.spec.physical_network)
        operations = self._port(view, bridge, ours, patch_to(theirs))
        if self.spec.peer_bridge:
            peer = view.bridges.get(self.spec.peer_bridge)
            if peer is None:
                raise no_such_bridge(self.spec.peer_bridge)
            return operations + self._port(view, peer, theirs, patch_to(ours))
        return operations + self._bond(view, column(bridge, "datapath_type"), theirs, patch_to(ours))

    def _marks(self, view: SwitchView) -> Json:
        return {"external_ids": ovs_map({OWNER_KEY: view.host_id, UPLINK_KEY: self.spec.physical_network})}

    def _refuse_another(self, view: SwitchView) -> None:
        for state in rows_of(view, self.spec.physical_network):
            if state.bridge == self.spec.bridge and state.device != self.device:
                raise Refused(
                    f"physical network {self.spec.physical_network} is reached by {state.device} already; "
                    "detach that uplink first",
                    reason="UPLINK_EXISTS",
                    subject=self.spec.physical_network,
                )

    def _present(self, view: SwitchView, device: str, bridge: str) -> bool:
        """Tell whether a row of the uplink is there. Raises Refused for one that is not ours."""
        state = view.interface_state(device)
        if state is None:
            return False
        if not state.ours or state.external_id(UPLINK_KEY) != self.spec.physical_network or state.bridge != bridge:
            raise foreign_device(device, state)
        return True

    def _port(self, view: SwitchView, bridge: Any, device: str, kind: Json) -> list[Json]:
        if self._present(view, device, column(bridge, "name")):
            return []
        refuse_port_name(view, device)
        return new_port(bridge, device, interface={**kind, **self._marks(view)}, port=self._marks(view))

    def _bond(self, view: SwitchView, datapath_type: str, patch: str, kind: Json) -> list[Json]:
        """Return the operations for a bridge of the bond's own, which forwards by NORMAL (fail_mode standalone)."""
        name, port = bond_names(self.spec.physical_network)
        marks = self._marks(view)
        if name in view.bridges:
            for device in (patch, *self.spec.devices):
                if not self._present(view, device, name):
                    raise Refused(
                        f"the bond's bridge {name} is there without {device}; detach the uplink first",
                        reason="UPLINK_EXISTS",
                        subject=self.spec.physical_network,
                    )
            return []
        for device in (port, patch, *self.spec.devices):
            self._present(view, device, name)
            refuse_port_name(view, device)
        members = [row_name("interface", device) for device in self.spec.devices]
        patch_row, bond_row = row_name("port", patch), row_name("port", port)
        bond = {"name": port, "bond_mode": self.spec.bond_mode, "lacp": self.spec.lacp, **marks}
        operations = new_bridge(name, {"datapath_type": datapath_type, "fail_mode": "standalone", **marks})
        return [
            *operations,
            insert("Interface", {"name": patch, **kind, **marks}, name=row_name("interface", patch)),
            insert("Port", {"name": patch, "interfaces": named(row_name("interface", patch)), **marks}, name=patch_row),
            *(
                insert("Interface", {"name": device, **marks}, name=member)
                for device, member in zip(self.spec.devices, members, strict=True)
            ),
            insert("Port", {**bond, "interfaces": ovs_set(named(member) for member in members)}, name=bond_row),
            mutate("Bridge", [["name", "==", name]], ["ports", "insert", ovs_set([named(patch_row), named(bond_row)])]),
        ]

    def result(self, view: SwitchView, marker: int) -> Uplink:
        names = {self.device, *self.spec.devices}
        if self.device not in self.spec.devices:
            names.update(patch_names(self.spec.physical_network))
        for name in sorted(names):
            state = view.interface_state(name)
            if state is None:
                raise AttachError(f"{name} was removed by another client of the database", subject=name)
            attached(state, marker)
        found = view.interface_state(self.device)
        assert found is not None
        return uplink_of(found)

    def explain(self, failure: str) -> OfctlError:
        return AttachError(
            f"ovsdb-server refused the uplink of {self.spec.physical_network}: {failure}",
            subject=self.spec.physical_network,
            metadata={"ovsdb_error": failure},
        )


class DetachUplink(Operation[SwitchView, None]):
    """Nothing of the uplink."""

    def __init__(self, physical_network: PhysicalNetwork) -> None:
        super().__init__(f"uplink:{physical_network}")
        self.physical_network = physical_network

    def build(self, view: SwitchView) -> list[Json]:
        view.root()
        operations: list[Json] = []
        own_bridge = view.bridges.get(bond_names(self.physical_network)[0])
        if own_bridge is not None and view.is_ours(own_bridge):
            row = reference(identity(own_bridge))
            operations.append(mutate(ROOT, [], ["bridges", "delete", ovs_set([row])]))
        ports = {state.port for state in rows_of(view, self.physical_network)}
        for port in sorted(ports & view.ports.keys()):
            operations += remove_port(view.ports[port])
        return operations

    def result(self, view: SwitchView, marker: int) -> None:  # noqa: ARG002
        left = rows_of(view, self.physical_network)
        if left:
            raise AttachError(
                f"{left[0].device} is still on bridge {left[0].bridge}: another client put it back",
                subject=self.physical_network,
            )


def rows_of(view: SwitchView, physical_network: str) -> list[InterfaceState]:
    """Return our interfaces that bear the mark of an uplink."""
    states = [view.interface_state(name) for name in view.interfaces]
    return [state for state in states if state and state.ours and state.external_id(UPLINK_KEY) == physical_network]


def uplink_of(state: InterfaceState) -> Uplink:
    """Return an interface of the integration bridge as an uplink."""
    return Uplink(
        physical_network=PhysicalNetwork(state.external_id(UPLINK_KEY)),
        bridge=state.bridge,
        device=state.device,
        ofport=state.ofport,
        error=state.error,
    )


def uplink_device(spec: UplinkSpec) -> DeviceName:
    """Return the name of the uplink's interface on the integration bridge. Raises InvalidField."""
    if bool(spec.devices) == bool(spec.peer_bridge):
        raise InvalidField("uplink", f"{spec.physical_network} needs devices or a bridge, one of the two")
    if len(spec.devices) == 1:
        return spec.devices[0]
    return patch_names(spec.physical_network)[0]


def patch_names(physical_network: str) -> tuple[DeviceName, DeviceName]:
    """Return the names of the two patch ports: on the integration bridge, and on the other."""
    tag = _tag(physical_network)
    return DeviceName(f"ofu-{tag}"), DeviceName(f"ofp-{tag}")


def bond_names(physical_network: str) -> tuple[str, str]:
    """Return the names of a bond's own bridge and of its port."""
    tag = _tag(physical_network)
    return f"ofb-{tag}", f"ofd-{tag}"


def patch_to(peer: str) -> Json:
    """Return the columns of a patch port."""
    return {"type": "patch", "options": ovs_map({"peer": peer})}


def _tag(physical_network: str) -> str:
    return hashlib.sha256(physical_network.encode()).hexdigest()[:10]
