"""What happens behind our back: seen by event, told to those who watch, and mended.

Three places tell: the switch's database (rows), the kernel (links) and the switch (flows, groups). An event about a
port that an operation works on is kept and looked at when the operation is over: most such events are its own doing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from ofctl.engine.host_engine import HostEngine
from ofctl.engine.inventory import Key
from ofctl.log import fields
from ofctl.model.ids import PortIndex
from ofctl.model.port import Binding, PortState
from ofctl.model.vif import DatapathType
from ofctl.netlink.link_watch import LinkEvent, LinkEventsLost
from ofctl.netlink.mark import OwnerMark
from ofctl.netlink.specs import DeviceState
from ofctl.ovsdb.values import BridgeChanged, InterfaceChanged, InterfaceState, SwitchEvent

logger = logging.getLogger(__name__)


class Drift:
    """Watches a host's ports and mends them. Belongs to one event loop."""

    def __init__(self, engine: HostEngine, *, rebuild: Callable[[str], None]) -> None:
        """`rebuild` is called with the reason when the bridge itself is not as it must be."""
        self._engine = engine
        self._book = engine.book
        self._chassis = engine.chassis
        self._rebuild = rebuild
        self._links_meanwhile: dict[Key, DeviceState | None] = {}
        self._rows_meanwhile: dict[Key, InterfaceState | None] = {}
        engine.on_left = self._operation_left

    # The kernel

    def link_changed(self, change: LinkEvent) -> None:
        """Take an event of the kernel."""
        if isinstance(change, LinkEventsLost):
            self._book.counters["links.overrun"] += 1
            self._engine.spawn(self._look_at_all_links(), "drift-links")
            return
        key = self._book.key_of_device(change.device)
        if key is None:
            return
        known = self._chassis.ifindexes.get(change.device)
        if change.state is None and change.ifindex != known:
            # The end of a device that had this name before the one that we know.
            return
        self._take_link(key, change.state)

    def _take_link(self, key: Key, state: DeviceState | None) -> None:
        if self._book.operation_on(key) is not None:
            self._links_meanwhile[key] = state
        else:
            self._judge_link(key, state)

    async def _look_at_all_links(self) -> None:
        for binding in self._book.durables():
            deadline = self._engine.clock.monotonic() + 5.0
            state = await self._chassis.devices.state(binding.device, deadline=deadline)
            self._take_link((binding.port_id, binding.spec.host_id), state)

    def _judge_link(self, key: Key, state: DeviceState | None) -> None:
        binding = self._book.durable(key)
        if binding is None or binding.state is not PortState.ACTIVE:
            return
        problem = self._link_problem(binding, state)
        if problem is not None:
            self._mend(key, binding, problem)

    def _link_problem(self, binding: Binding, state: DeviceState | None) -> str | None:
        if state is None:
            return "DEVICE_GONE"
        mark = OwnerMark.of(binding.spec.host_id, binding.port_id)
        # With the kernel's datapath the master of every port is ovs-system.
        userspace = self._chassis.datapath_type is DatapathType.NETDEV
        differences = {
            "DEVICE_REPLACED": state.ifindex != self._chassis.ifindexes.get(binding.device, state.ifindex),
            "DEVICE_UNMARKED": state.mark != mark,
            "DEVICE_DOWN": not state.up,
            "DEVICE_MTU": state.mtu != binding.mtu,
            "DEVICE_MOVED": userspace and state.master is not None,
        }
        return next((problem for problem, differs in differences.items() if differs), None)

    # The switch's database

    def database_changed(self, event: SwitchEvent) -> None:
        """Take an event of the switch's database."""
        if isinstance(event, BridgeChanged) and event.name == self._chassis.bridge:
            if event.state is None:
                self._rebuild("BRIDGE_GONE")
            elif not event.state.ours or event.state.fail_mode != "secure":
                self._rebuild("BRIDGE_CHANGED")
        elif isinstance(event, InterfaceChanged):
            key = self._book.key_of_device(event.device)
            if key is None:
                return
            if self._book.operation_on(key) is not None:
                self._rows_meanwhile[key] = event.state
            else:
                self._judge_row(key, event.state)

    def _judge_row(self, key: Key, state: InterfaceState | None) -> None:
        binding = self._book.durable(key)
        if binding is None or binding.state is not PortState.ACTIVE:
            return
        problem = self._row_problem(binding, state)
        if problem is not None:
            self._mend(key, binding, problem)

    def _row_problem(self, binding: Binding, state: InterfaceState | None) -> str | None:
        if state is None or not state.bridge:
            return "ROW_GONE"
        if not state.ours or state.port_id != binding.port_id:
            return "ROW_CHANGED"
        if state.bridge != self._chassis.bridge:
            return "ROW_MOVED"
        known = self._chassis.tables.world.ports.get(binding.numbers.index)
        if self._chassis.tables.resynced and (state.error or state.ofport is None):
            return "ATTACHMENT_LOST"
        if known is not None and state.ofport not in (None, known.ofport):
            return "OFPORT_CHANGED"
        return None

    # The switch

    def flows_drifted(self, indexes: Collection[PortIndex]) -> None:
        """Take the ports whose flows or buckets somebody else has changed; the resync under way puts them right."""
        self._book.counters["flows.drifted"] += 1
        for key in filter(None, map(self._book.key_of_index, indexes)):
            if self._book.operation_on(key) is None:
                self._book.trouble(key, PortState.DEGRADED, "FLOWS_CHANGED")

    def flows_mended(self, indexes: Collection[PortIndex]) -> None:
        """Take the ports whose flows are right again."""
        self._book.counters["flows.mended"] += 1
        for key in filter(None, map(self._book.key_of_index, indexes)):
            if self._book.operation_on(key) is None:
                self._book.clear_trouble(key)

    # Mending

    def _mend(self, key: Key, binding: Binding, problem: str) -> None:
        logger.warning("a port is not as it was confirmed; mending it", extra=fields(port=key[0], reason=problem))
        self._book.trouble(key, PortState.DEGRADED, problem)
        self._engine.mend(binding)

    def _operation_left(self, keys: Collection[Key]) -> None:
        """Look at what was told about these ports while an operation was on them."""
        for key in keys:
            if self._book.operation_on(key) is not None:
                continue
            if key in self._links_meanwhile:
                self._judge_link(key, self._links_meanwhile.pop(key))
            if key in self._rows_meanwhile:
                state = self._rows_meanwhile.pop(key)
                if self._book.operation_on(key) is None:
                    self._judge_row(key, state)
