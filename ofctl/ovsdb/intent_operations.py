"""Operations on the intents' database. Built again after a reconnection, each finds its own first work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ofctl.errors import AlreadyExists, DriverError, NotFound, OfctlError, Unavailable
from ofctl.model.confirmation import RequestRecord
from ofctl.model.ids import HostId, NetworkId, PortId
from ofctl.model.port import Binding, BindingNumbers
from ofctl.ovsdb.intent_rows import BINDING_KEY, binding_columns, confirmation_columns
from ofctl.ovsdb.intent_view import IntentView
from ofctl.ovsdb.notation import delete, insert, named, ovs_set, row_name, update
from ofctl.ovsdb.operation import Operation
from ofctl.ovsdb.replica import Json, column, identity
from ofctl.pipeline.tables import LAYOUT_VERSION

T = TypeVar("T")

REFERENCED = {"Network": "network", "SecurityGroup": "security group", "AddressGroup": "address group"}
"""Tables whose rows others refer to, and what a row is."""


class GlobalTaken(DriverError):
    """Another host has made the one row of Global meanwhile: try again."""


class IntentOperation(Operation[IntentView, T], Generic[T]):
    """An operation that tells the loop what became of it, so that numbers are freed only after the truth is known."""

    def __init__(self, *keys: str, on_settled: Callable[[Any], None] | None = None) -> None:
        super().__init__(*keys)
        self._on_settled = on_settled

    def settled(self, outcome: T | BaseException) -> None:
        if self._on_settled is not None:
            self._on_settled(outcome)

    def explain(self, failure: str) -> OfctlError:
        for table, noun in REFERENCED.items():
            if "references nonexistent row" in failure and f"in table {table}" in failure:
                return Unavailable(
                    f"another host has just deleted a {noun} that this needs; look, and try again",
                    reason="DELETED_MEANWHILE",
                    subject=noun,
                )
        return super().explain(failure)


class AddBindings(IntentOperation[tuple[Binding, ...]]):
    """All bindings with their numbers and the record, or nothing. One that is there already keeps its numbers."""

    def __init__(
        self, bindings: Sequence[Binding], request: RequestRecord | None, on_settled: Callable[[Any], None]
    ) -> None:
        super().__init__(*keys_of((binding.port_id for binding in bindings), request), on_settled=on_settled)
        self.bindings = tuple(bindings)
        self.request = request
        self._present: dict[PortId, Binding] = {}

    def build(self, view: IntentView) -> list[Json]:
        self._present = {}
        operations: list[Json] = []
        for binding in self.bindings:
            references = view.references(binding.spec)
            row = view.bindings.get(binding.port_id)
            if row is not None:
                self._present[binding.port_id] = self._same(view.binding(row), binding)
                continue
            columns = {**binding_columns(binding), **references}
            operations.append(insert("Binding", columns, name=row_name("binding", binding.port_id)))
            operations += self._take_fence(view, binding)
        return operations + view.put_request(self.request)

    @staticmethod
    def _take_fence(view: IntentView, binding: Binding) -> list[Json]:
        fence = view.fences.get(binding.port_id)
        if fence is None or column(fence, "generation") > binding.generation:
            return []
        return view.drop_fence(binding.port_id)

    def _same(self, present: Binding, wanted: Binding) -> Binding:
        same = (present.spec, present.device, present.request_id) == (wanted.spec, wanted.device, wanted.request_id)
        if not same:
            raise AlreadyExists(
                f"port {wanted.port_id} is there already, with another content or from another request",
                reason="PORT_EXISTS",
                subject=wanted.port_id,
            )
        return present

    def result(self, view: IntentView, marker: int) -> tuple[Binding, ...]:  # noqa: ARG002
        return tuple(self._present.get(binding.port_id, binding) for binding in self.bindings)

    def explain(self, failure: str) -> OfctlError:
        ports = ", ".join(binding.port_id for binding in self.bindings)
        if '"mac_address"' in failure:
            return AlreadyExists(f"a MAC address of {ports} is in use on its network", reason="MAC_IN_USE")
        return super().explain(failure)


class UpdateBindings(IntentOperation[None]):
    """New contents of bindings that are there; their key and numbers stay."""

    def __init__(self, bindings: Sequence[Binding], request: RequestRecord | None) -> None:
        super().__init__(*keys_of((binding.port_id for binding in bindings), request))
        self.bindings = tuple(bindings)
        self.request = request

    def build(self, view: IntentView) -> list[Json]:
        operations: list[Json] = []
        for binding in self.bindings:
            row = view.bindings.get(binding.port_id)
            if row is None:
                raise no_such_binding(binding.port_id, view.host_id)
            evidence: Any = ovs_set([])
            if binding.confirmation is not None:
                name = row_name("confirmation", binding.port_id)
                operations.append(
                    insert("Confirmation", confirmation_columns(binding.confirmation, view.host_id), name=name)
                )
                evidence = named(name)
            columns = without(binding_columns(binding), BINDING_KEY) | view.references(binding.spec)
            columns["confirmation"] = evidence
            operations.append(update("Binding", identity(row), columns))
        return operations + view.put_request(self.request)

    def result(self, view: IntentView, marker: int) -> None:  # noqa: ARG002
        return None


class PutZones(IntentOperation[None]):
    """A zone for each binding that is there and has none."""

    def __init__(self, zones: Mapping[PortId, int]) -> None:
        super().__init__(*keys_of(zones, None))
        self.zones = zones

    def build(self, view: IntentView) -> list[Json]:
        rows = {port_id: view.bindings.get(port_id) for port_id in self.zones}
        return [
            update("Binding", identity(row), {"zone": self.zones[port_id]})
            for port_id, row in rows.items()
            if row is not None and column(row, "zone") is None
        ]

    def result(self, view: IntentView, marker: int) -> None:  # noqa: ARG002
        return None


class RemoveBindings(IntentOperation[tuple[tuple[NetworkId, BindingNumbers], ...]]):
    """None of the bindings, and a fence for each that had a generation. Returns the numbers that are free now."""

    def __init__(
        self,
        generations: Mapping[PortId, int],
        request: RequestRecord | None,
        on_settled: Callable[[Any], None],
        *,
        at_ms: int,
    ) -> None:
        super().__init__(*keys_of(generations, request), on_settled=on_settled)
        self.generations = generations
        self.request = request
        self.at_ms = at_ms
        self._freed: list[tuple[NetworkId, BindingNumbers]] = []

    def build(self, view: IntentView) -> list[Json]:
        rows = {port: view.bindings[port] for port in self.generations if port in view.bindings}
        self._freed = [(NetworkId(column(row, "network_id")), view.binding(row).numbers) for row in rows.values()]
        operations: list[Json] = [delete("Binding", identity(row)) for row in rows.values()]
        stored = {port: column(row, "generation") for port, row in rows.items()}
        fences = {port: max(least, stored.get(port, 0)) for port, least in self.generations.items()}
        fences = {port: generation for port, generation in fences.items() if generation}
        return operations + view.put_fences(fences, at_ms=self.at_ms) + view.put_request(self.request)

    def result(self, view: IntentView, marker: int) -> tuple[tuple[NetworkId, BindingNumbers], ...]:  # noqa: ARG002
        return tuple(self._freed)


class PutFence(IntentOperation[None]):
    """The generation of a port at least this, in its binding or, if it is gone, in its fence."""

    def __init__(self, port_id: PortId, generation: int, *, at_ms: int) -> None:
        super().__init__(f"port:{port_id}")
        self.port_id = port_id
        self.generation = generation
        self.at_ms = at_ms

    def build(self, view: IntentView) -> list[Json]:
        row = view.bindings.get(self.port_id)
        if row is None:
            return view.put_fences({self.port_id: self.generation}, at_ms=self.at_ms)
        if column(row, "generation") >= self.generation:
            return []
        return [update("Binding", identity(row), {"generation": self.generation})]

    def result(self, view: IntentView, marker: int) -> None:  # noqa: ARG002
        return None


class PutRequest(IntentOperation[None]):
    """The outcome of a request."""

    def __init__(self, record: RequestRecord) -> None:
        super().__init__(*keys_of((), record))
        self.record = record

    def build(self, view: IntentView) -> list[Json]:
        return view.put_request(self.record)

    def result(self, view: IntentView, marker: int) -> None:  # noqa: ARG002
        return None


class RegisterHost(IntentOperation[int]):
    """This host's row, its generation one higher: how often an agent of the host has opened the store."""

    def __init__(self, host_id: HostId) -> None:
        super().__init__("host")
        self.host_id = host_id

    def build(self, view: IntentView) -> list[Json]:
        row = view.host()
        if row is None:
            registration = insert("Host", {"host_id": self.host_id, "generation": 1}, name="host")
        else:
            registration = update("Host", identity(row), {"generation": column(row, "generation") + 1})
        return [registration, *self._raise_layout(view)]

    @staticmethod
    def _raise_layout(view: IntentView) -> list[Json]:
        """Note the newest layout of the pipeline that any agent of this database has had."""
        if "Global" not in view.tables:
            return []
        row = next(iter(view.tables["Global"].rows.values()), None)
        if row is None:
            return [insert("Global", {"layout": LAYOUT_VERSION}, name="global")]
        return [update("Global", identity(row), {"layout": LAYOUT_VERSION})] if _behind(row) else []

    def result(self, view: IntentView, marker: int) -> int:  # noqa: ARG002
        return int(column(view.host(), "generation"))

    def explain(self, failure: str) -> OfctlError:
        if "Global" in failure:
            return GlobalTaken(f"another host has just made the Global row: {failure}")
        return super().explain(failure)


def _behind(row: Any) -> bool:
    return int(column(row, "layout")) < LAYOUT_VERSION


def keys_of(ports: Any, request: RequestRecord | None) -> list[str]:
    """Return what an operation touches."""
    return [f"port:{port}" for port in ports] + ([f"request:{request.request_id}"] if request is not None else [])


def without(columns: Json, names: Sequence[str]) -> Json:
    """Return the columns but those that never change: the server refuses even the same value for them."""
    return {name: value for name, value in columns.items() if name not in names}


def no_such_binding(port_id: PortId, host_id: HostId) -> NotFound:
    """Return the error for a binding that is not there."""
    return NotFound(f"port {port_id} is not bound to host {host_id}", reason="PORT_NOT_FOUND", subject=port_id)
