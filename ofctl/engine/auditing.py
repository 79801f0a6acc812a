"""The whole host against its intents: kernel, switch's database, switch; and, if asked, mended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ofctl.engine.inspection import link_problem, row_problem
from ofctl.model.audit import AuditReport, Finding, FindingKind
from ofctl.model.ids import DeviceName
from ofctl.model.port import Binding, PortState
from ofctl.netlink.specs import DeviceState
from ofctl.pipeline.changes import AddFlow, AddGroup, Change, DeleteFlow, DeleteFlowsByCookie, DeleteGroup
from ofctl.pipeline.diff import Resync

if TYPE_CHECKING:
    from ofctl.engine.host_engine import HostEngine


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found at one look."""

    findings: tuple[Finding, ...]
    devices: tuple[DeviceState, ...]
    flows: int
    groups: int


class Audit:
    """One audit of one host."""

    def __init__(self, engine: HostEngine) -> None:
        self._engine = engine
        self._book = engine.book
        self._chassis = engine.chassis

    async def run(self, *, repair: bool, deadline: float) -> AuditReport:
        """Return what differs. With `repair`, mend it, look again, and mark what is gone as repaired.

        A port that an operation is about is left out: it is that operation's to make right. Raises Unavailable if the
        switch cannot be asked.
        """
        self._chassis.check_ready()
        look = await self._look(deadline)
        findings = look.findings
        if repair and findings:
            await self._repair(look, deadline)
            left = {(each.kind, each.subject) for each in (await self._look(deadline)).findings}
            findings = tuple(replace(each, repaired=(each.kind, each.subject) not in left) for each in findings)
        return AuditReport(
            ports=len(self._book),
            devices=len(look.devices),
            rows=len(self._chassis.database.interfaces()),
            flows=look.flows,
            groups=look.groups,
            findings=findings,
        )

    async def _look(self, deadline: float) -> _Look:
        devices = await self._chassis.devices.owned(deadline=deadline)
        inspection = await self._chassis.tables.inspect(deadline=deadline)
        findings = [
            *await self._device_findings(devices, deadline),
            *self._row_findings(),
            *_flow_findings(inspection.difference),
        ]
        return _Look(tuple(findings), devices, inspection.flows, inspection.groups)

    def _settled(self) -> Iterator[Binding]:
        for binding in self._book.durables():
            if self._book.operation_on((binding.port_id, binding.spec.host_id)) is None:
                yield binding

    async def _device_findings(self, owned: Iterable[DeviceState], deadline: float) -> list[Finding]:
        found = []
        present = {state.device: state for state in owned}
        for binding in self._settled():
            state = present.get(binding.device)
            if state is None:
                state = await self._chassis.devices.state(binding.device, deadline=deadline)
            problem = link_problem(self._chassis, binding, state)
            if problem is not None:
                kind = FindingKind.DEVICE_MISSING if state is None else FindingKind.DEVICE_DIFFERS
                found.append(Finding(kind=kind, subject=binding.device, detail=problem, port_id=binding.port_id))
        for device in present:
            key = self._book.key_of_device(device)
            if key is None and not self._book.makes(device):
                found.append(Finding(kind=FindingKind.DEVICE_LEFT_OVER, subject=device))
        return found

    def _row_findings(self) -> list[Finding]:
        found = []
        database = self._chassis.database
        for binding in self._settled():
            row = database.interface(binding.device)
            problem = row_problem(self._chassis, binding, row)
            if problem is not None:
                kind = FindingKind.ROW_MISSING if row is None else FindingKind.ROW_DIFFERS
                found.append(Finding(kind=kind, subject=binding.device, detail=problem, port_id=binding.port_id))
        for device, row in database.interfaces().items():
            known = self._book.key_of_device(device) is not None or self._book.makes(device)
            if row.ours and row.port_id is not None and not known:
                found.append(Finding(kind=FindingKind.ROW_LEFT_OVER, subject=device))
        for device in database.foreign_ports(self._chassis.bridge):
            found.append(Finding(kind=FindingKind.ROW_FOREIGN, subject=device, detail="left alone"))
        return found

    # Repair

    async def _repair(self, look: _Look, deadline: float) -> None:
        """Leftovers first, rows before devices; then the ports; the flows of the switch last."""
        by_kind = {kind: [each for each in look.findings if each.kind is kind] for kind in FindingKind}
        for finding in by_kind[FindingKind.ROW_LEFT_OVER]:
            await self._chassis.database.detach(DeviceName(finding.subject), deadline=deadline)
        for state in look.devices:
            if any(each.subject == state.device for each in by_kind[FindingKind.DEVICE_LEFT_OVER]):
                await self._chassis.devices.remove(state.device, port_id=None, deadline=deadline)
        wrong = {each.port_id for each in look.findings if each.port_id is not None}
        mended = [binding for binding in self._settled() if binding.port_id in wrong]
        for binding in mended:
            if binding.state is PortState.ACTIVE:
                self._engine.mend(binding)
        operations = filter(None, (self._book.operation_on((each.port_id, each.spec.host_id)) for each in mended))
        await asyncio.gather(*(each.wait_finished(deadline) for each in operations), return_exceptions=True)
        await self._chassis.tables.repair(deadline=deadline)


def _flow_findings(difference: Resync) -> Iterator[Finding]:
    for change in difference.changes:
        yield Finding(kind=_KINDS.get(type(change), FindingKind.GROUP_DIFFERS), subject=str(change))


_KINDS: dict[type[Change], FindingKind] = {
    AddFlow: FindingKind.FLOW_MISSING,
    DeleteFlow: FindingKind.FLOW_LEFT_OVER,
    DeleteFlowsByCookie: FindingKind.FLOW_LEFT_OVER,
    AddGroup: FindingKind.GROUP_DIFFERS,
    DeleteGroup: FindingKind.GROUP_LEFT_OVER,
}
