"""What happens behind our back: seen by event, told to those who watch, and mended.

Four places tell: the switch's database (rows), the kernel (links, namespaces) and the switch (flows, groups). An event
about a port that an operation works on is kept and looked at when the operation is over: most are its own doing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from ofctl.engine.host_engine import HostEngine
from ofctl.engine.inspection import link_problem, row_problem
from ofctl.engine.inventory import Key
from ofctl.engine.operation import Operation
from ofctl.engine.port_work import PortWork
from ofctl.log import fields
from ofctl.model.ids import PortIndex
from ofctl.model.port import Binding, NamespaceConsumer, PortState
from ofctl.netlink.link_watch import LinkEvent, LinkEventsLost
from ofctl.netlink.namespace_watch import NamespaceChange, NamespaceWatch
from ofctl.netlink.specs import DeviceState
from ofctl.ovsdb.values import BridgeChanged, InterfaceChanged, InterfaceState, SwitchEvent

logger = logging.getLogger(__name__)

LOOK_S = 5.0
"""Deadline of a look at one device after events were lost."""


class Drift:
    """Watches a host's ports and mends them. Belongs to one event loop."""

    def __init__(self, engine: HostEngine, namespaces: NamespaceWatch, *, rebuild: Callable[[str], None]) -> None:
        """`rebuild` is called with the reason when the bridge itself is not as it must be."""
        self._engine = engine
        self._book = engine.book
        self._chassis = engine.chassis
        self._namespaces = namespaces
        self._rebuild = rebuild
        self._links_meanwhile: dict[Key, DeviceState | None] = {}
        self._rows_meanwhile: dict[Key, InterfaceState | None] = {}
        self._awaited: dict[Key, Callable[[], None]] = {}
        self._restoring = True
        engine.on_left = self._operation_left
        engine.chassis.disturbed = self._disturbed

    def restored(self) -> None:
        """Take what was told while the host was starting: most was the restoration's own doing."""
        self._restoring = False
        for key in tuple(self._links_meanwhile):
            if self._book.operation_on(key) is None:
                self._take_link(key, self._links_meanwhile.pop(key))
        for key in tuple(self._rows_meanwhile):
            if self._book.operation_on(key) is None:
                self._take_row(key, self._rows_meanwhile.pop(key))

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
        if change.state is None and change.ifindex != self._chassis.ifindexes.get(change.device):
            # The end of a device that had this name before the one that we know.
            return
        self._take_link(key, change.state)

    async def _look_at_all_links(self) -> None:
        for binding in self._book.durables():
            deadline = self._engine.clock.monotonic() + LOOK_S
            state = await self._chassis.devices.state(binding.device, deadline=deadline)
            self._take_link((binding.port_id, binding.spec.host_id), state)

    def _take_link(self, key: Key, state: DeviceState | None) -> None:
        if self._restoring or self._book.operation_on(key) is not None:
            self._links_meanwhile[key] = state
            return
        binding = self._confirmed(key)
        if binding is not None:
            self._mend(key, binding, link_problem(self._chassis, binding, state))

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
            if key is not None:
                self._take_row(key, event.state)

    def _take_row(self, key: Key, state: InterfaceState | None) -> None:
        if self._restoring or self._book.operation_on(key) is not None:
            self._rows_meanwhile[key] = state
            return
        binding = self._confirmed(key)
        if binding is not None:
            self._mend(key, binding, row_problem(self._chassis, binding, state))

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

    def _confirmed(self, key: Key) -> Binding | None:
        """Return the binding of a port that was confirmed, is not to go, and whose namespace is not awaited."""
        binding = self._book.durable(key)
        if binding is None or binding.state is not PortState.ACTIVE or key in self._awaited:
            return None
        return binding

    def _mend(self, key: Key, binding: Binding, problem: str | None) -> None:
        if problem is None:
            return
        logger.warning("a port is not as it was confirmed; mending it", extra=fields(port=key[0], reason=problem))
        self._book.trouble(key, PortState.DEGRADED, problem)
        self._engine.mend(binding)

    def _disturbed(self, work: PortWork) -> bool:
        """Tell whether the last that was heard of a port, while an operation is on it, is not as it must be."""
        links, rows, chassis = self._links_meanwhile, self._rows_meanwhile, self._chassis
        return (work.key in links and link_problem(chassis, work.present, links[work.key]) is not None) or (
            work.key in rows and row_problem(chassis, work.present, rows[work.key]) is not None
        )

    def _operation_left(self, operation: Operation) -> None:
        """Look at what was told about the ports of an operation while it was under way."""
        for member in operation.members:
            key = member.key
            if self._book.durable(key) is None:
                self._stop_awaiting(key)
            if operation.failure is not None and operation.failure.reason == "NO_NETNS":
                self.await_namespace(key)
            if key in self._links_meanwhile:
                self._take_link(key, self._links_meanwhile.pop(key))
            if key in self._rows_meanwhile:
                self._take_row(key, self._rows_meanwhile.pop(key))

    # Namespaces

    def await_namespace(self, key: Key) -> None:
        """Leave a port DOWN until its namespace is there again, which is for its owner to see to."""
        binding = self._book.durable(key)
        if binding is None or key in self._awaited or not isinstance(binding.spec.consumer, NamespaceConsumer):
            return
        self._book.trouble(key, PortState.DOWN, "AWAITING_NAMESPACE")

        def changed(change: NamespaceChange) -> None:
            if change.present:
                self._stop_awaiting(key)
                again = self._confirmed(key)
                if again is not None and self._book.operation_on(key) is None:
                    self._engine.mend(again)

        self._awaited[key] = self._namespaces.watch(binding.spec.consumer.netns_path, changed)

    def _stop_awaiting(self, key: Key) -> None:
        end = self._awaited.pop(key, None)
        if end is not None:
            end()
