"""What is wrong with a port, judged from what the kernel and the switch's database show of it. No I/O.

Each judgement is an UPPER_SNAKE word, the reason of a DEGRADED port (docs/operations.md), or None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ofctl.model.port import Binding
from ofctl.model.vif import DatapathType
from ofctl.netlink.mark import OwnerMark
from ofctl.netlink.specs import DeviceState
from ofctl.ovsdb.values import InterfaceState

if TYPE_CHECKING:
    from ofctl.engine.chassis import Chassis


def link_problem(chassis: Chassis, binding: Binding, state: DeviceState | None) -> str | None:
    """Judge the device of a port."""
    if state is None:
        return "DEVICE_GONE"
    mark = OwnerMark.of(binding.spec.host_id, binding.port_id)
    # With the kernel's datapath the master of every port is ovs-system.
    userspace = chassis.datapath_type is DatapathType.NETDEV
    differences = {
        "DEVICE_REPLACED": state.ifindex != chassis.ifindexes.get(binding.device, state.ifindex),
        "DEVICE_UNMARKED": state.mark != mark,
        "DEVICE_DOWN": not state.up,
        "DEVICE_MTU": state.mtu != binding.mtu,
        "DEVICE_MOVED": userspace and state.master is not None,
    }
    return next((problem for problem, differs in differences.items() if differs), None)


def row_problem(chassis: Chassis, binding: Binding, state: InterfaceState | None) -> str | None:
    """Judge the Interface row of a port."""
    if state is None or not state.bridge:
        return "ROW_GONE"
    known = chassis.tables.world.ports.get(binding.numbers.index)
    differences = {
        "ROW_CHANGED": not state.ours or state.port_id != binding.port_id,
        "ROW_MOVED": state.bridge != chassis.bridge,
        "ATTACHMENT_LOST": chassis.tables.resynced and (bool(state.error) or state.ofport is None),
        "OFPORT_CHANGED": known is not None and state.ofport not in (None, known.ofport),
    }
    return next((problem for problem, differs in differences.items() if differs), None)
