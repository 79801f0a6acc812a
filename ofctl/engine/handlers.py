"""What is done in each stage, for the ports of an operation side by side. `ofctl.engine.operation` walks the table."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ofctl.engine.port_work import PortWork
from ofctl.engine.stages import DOWN, Stage, Walk
from ofctl.engine.verification import inspect
from ofctl.errors import NotFound, OfctlError, OutcomeUnknown, ResourceExhausted, Unavailable
from ofctl.model.confirmation import Level, Outcome, RequestRecord
from ofctl.model.network import IpAddress
from ofctl.model.port import Binding, NamespaceConsumer, PortSpec, PortState

if TYPE_CHECKING:
    from ofctl.engine.operation import Operation

Act = Callable[..., Awaitable[None]]
Record = TypeVar("Record", RequestRecord, RequestRecord | None)

# On the way down


async def write_intent(operation: Operation, deadline: float) -> None:
    """Make durable what is wanted, with the request."""
    if operation.walk is Walk.UPDATE:
        await _write_amendment(operation, deadline)
        return
    new = operation.created
    if not new:
        return
    fences = operation.fences
    drafts = [replace(member.draft, generation=fences.seen(member.key)) for member in new if member.draft is not None]
    bindings = await operation.store.add_bindings(drafts, operation.records[0], deadline=deadline)
    for member, binding in zip(new, bindings, strict=True):
        member.binding = binding


async def _write_amendment(operation: Operation, deadline: float) -> None:
    """Write the new specs. The evidence goes: it was of other flows."""
    amended = []
    for member in operation.members:
        assert member.before is not None
        amended.append(
            replace(
                member.before,
                spec=member.spec,
                former_ips=_taken_away(member.before, member.spec),
                revision=member.before.revision + 1,
                generation=operation.fences.seen(member.key),
                confirmation=None,
            )
        )
    try:
        await operation.store.update_bindings(amended, operation.first, deadline=deadline)
    except (NotFound, ResourceExhausted):
        raise
    except OfctlError:
        operation.written = True
        raise
    operation.written = True
    for member, binding in zip(operation.members, amended, strict=True):
        member.binding = binding


def _taken_away(before: Binding, after: PortSpec) -> tuple[IpAddress, ...]:
    """Return the addresses that the interface in a namespace may have and must not have with the spec `after`."""
    consumer = after.consumer
    if not isinstance(consumer, NamespaceConsumer) or consumer.addresses:
        return ()
    had = dict.fromkeys((*before.former_ips, *before.spec.fixed_ips))
    return tuple(address for address in had if address not in after.fixed_ips)


async def make_devices(operation: Operation, deadline: float) -> None:
    """Make devices, or bring those that are there to their specs."""
    await _each(operation.chassis.make_device, operation.members, deadline)


async def attach(operation: Operation, deadline: float) -> None:
    """Make the devices ports of the bridge; find their ofports."""
    await _each(operation.chassis.attach, operation.members, deadline)


async def install_flows(operation: Operation, deadline: float) -> None:
    """Put the flows in the switch: for an update, the new in place of the old in one bundle."""
    await _each(operation.chassis.install_flows, operation.members, deadline)


async def settle_datapath(operation: Operation, deadline: float) -> None:
    """Wait until nothing cached forwards by the tables of before."""
    if operation.level >= Level.DATAPATH:
        await operation.chassis.settle(deadline=deadline)


async def read_back(operation: Operation, deadline: float) -> None:
    """Compare what the switch has with what is intended."""
    if operation.level >= Level.READBACK:
        await _each(operation.chassis.read_back, operation.members, deadline)


async def probe(operation: Operation, deadline: float) -> None:
    """Show with frames that the ports work."""
    if operation.level >= Level.PIPELINE:
        await _each(partial(operation.chassis.probe, level=operation.level), operation.members, deadline)


async def bind(operation: Operation, deadline: float) -> None:
    """Have what is outside of the host made ready."""
    await _each(operation.chassis.bind, operation.members, deadline)


async def write_confirmation(operation: Operation, deadline: float) -> None:
    """Make the evidence durable."""
    await _each(operation.chassis.check_undisturbed, operation.members, deadline)
    now_ms = operation.clock.wall_ms()
    for member in operation.members:
        confirmation = operation.chassis.evidence(member, operation.level, at_ms=now_ms)
        binding = member.present
        if binding.state is not PortState.ACTIVE:
            binding = binding.in_state(PortState.ACTIVE, "", at_ms=now_ms)
        seen = operation.fences.seen(member.key)
        member.binding = replace(binding, confirmation=confirmation, generation=seen, former_ips=())
    first = _closed(operation, operation.first, Outcome.CONFIRMED, now_ms)
    present = [member.present for member in operation.members]
    await operation.store.update_bindings(present, first, deadline=deadline)
    await _close_records(operation, Outcome.CONFIRMED, now_ms, deadline)


async def _close_records(operation: Operation, outcome: Outcome, at_ms: int, deadline: float) -> None:
    """Let everybody know the outcome, now that it is durable, and write those that joined."""
    operation.records = [_closed(operation, record, outcome, at_ms) for record in operation.records]
    await asyncio.gather(*(operation.store.put_request(record, deadline=deadline) for record in operation.records[1:]))


def _closed(operation: Operation, record: Record, outcome: Outcome, at_ms: int) -> Record:
    if record is None:
        return record
    failure = None if outcome is Outcome.CONFIRMED else operation.failure
    reason, message = ("", "") if failure is None else (failure.reason, failure.message)
    return replace(record, outcome=outcome, reason=reason, message=message, at_ms=at_ms)


# On the way back up, of a plug


async def revoke_intent(operation: Operation, deadline: float) -> None:
    """Make durable that the ports are not wanted any more."""
    now_ms = operation.clock.wall_ms()
    for member in operation.members:
        binding = replace(member.present, generation=operation.fences.seen(member.key))
        member.binding = binding.in_state(PortState.REMOVING, "UNPLUGGED", at_ms=now_ms)
    present = [member.present for member in operation.members]
    await operation.store.update_bindings(present, None, deadline=deadline)


async def unbind(operation: Operation, deadline: float) -> None:
    """Let what is outside of the host forget the ports."""
    await _each(operation.chassis.unbind, _made(operation), deadline)


async def withdraw_flows(operation: Operation, deadline: float) -> None:
    """Take the flows out."""
    await _each(operation.chassis.withdraw_flows, _made(operation), deadline)


async def detach(operation: Operation, deadline: float) -> None:
    """Take the ports off the bridge."""
    await _each(operation.chassis.detach, _made(operation), deadline)


async def remove_devices(operation: Operation, deadline: float) -> None:
    """Remove the devices."""
    await _each(operation.chassis.remove_device, _made(operation), deadline)


def _made(operation: Operation) -> list[PortWork]:
    return [member for member in operation.created if member.binding is not None]


async def forget(operation: Operation, deadline: float) -> None:
    """Remove the intents, and leave their fences and the outcome of the requests."""
    generations = {member.key: operation.fences.seen(member.key) for member in operation.created}
    if not generations:
        return
    now_ms = operation.clock.wall_ms()
    first = _closed(operation, operation.first, Outcome.ABSENT, now_ms)
    try:
        await operation.store.remove_bindings(
            list(generations), first, generations=generations, at_ms=now_ms, deadline=deadline
        )
        await _close_records(operation, Outcome.ABSENT, now_ms, deadline)
    except ResourceExhausted:
        unwritten = all(member.binding is None for member in operation.created)
        if not (unwritten and isinstance(operation.failure, ResourceExhausted)):
            raise
        # The disk took no intent, so there is none to forget, and no room for the outcome.


# On the way back, of an update


async def revert_intent(operation: Operation, deadline: float) -> None:
    """Make durable that the ports are as before, and that the requests have changed nothing."""
    for member in operation.members:
        assert member.before is not None
        taken = _taken_away(member.present, member.before.spec)
        member.binding = replace(member.before, generation=operation.fences.seen(member.key), former_ips=taken)
        member.spec = member.before.spec
        member.timings.clear()
        member.frames, member.note = (), ""
    if not operation.written:
        return
    now_ms = operation.clock.wall_ms()
    first = _closed(operation, operation.first, Outcome.UNCHANGED, now_ms)
    present = [member.present for member in operation.members]
    await operation.store.update_bindings(present, first, deadline=deadline)


async def reinstate_flows(operation: Operation, deadline: float) -> None:
    """Put the flows of before in the switch, see them there, and wait until nothing cached forwards by the others."""
    if not _reached(operation, Stage.FLOWS):
        return
    await _each(operation.chassis.reinstate_flows, operation.members, deadline)
    await operation.chassis.settle(deadline=deadline)
    if operation.level >= Level.READBACK:
        await _each(operation.chassis.read_back, operation.members, deadline)


async def refit_devices(operation: Operation, deadline: float) -> None:
    """Bring the devices to what they were."""
    if _reached(operation, Stage.DEVICE):
        await make_devices(operation, deadline)


async def reattach(operation: Operation, deadline: float) -> None:
    """Bring the rows to what they were."""
    if _reached(operation, Stage.ATTACHMENT):
        await attach(operation, deadline)


async def rebind(operation: Operation, deadline: float) -> None:
    """Let what is outside of the host know the ports as they were."""
    if _reached(operation, Stage.BINDING):
        await bind(operation, deadline)


async def close_unchanged(operation: Operation, deadline: float) -> None:
    """Make the outcome durable, and the evidence of the flows that are back."""
    now_ms = operation.clock.wall_ms()
    shown = not operation.mends_after and _reached(operation, Stage.FLOWS)
    level = Level.READBACK if operation.level >= Level.READBACK else Level.DATAPATH
    for member in operation.members:
        if shown:
            evidence = operation.chassis.evidence(member, level, at_ms=now_ms)
            member.binding = replace(member.present, confirmation=evidence)
        if not operation.mends_after:
            member.binding = replace(member.present, former_ips=())
    if not operation.written:
        # Refused before anything was written; perhaps there is no room on the disk for the outcome either.
        operation.records = [_closed(operation, record, Outcome.UNCHANGED, now_ms) for record in operation.records]
        return
    first = _closed(operation, operation.first, Outcome.UNCHANGED, now_ms)
    present = [member.present for member in operation.members]
    await operation.store.update_bindings(present, first, deadline=deadline)
    await _close_records(operation, Outcome.UNCHANGED, now_ms, deadline)


def _reached(operation: Operation, stage: Stage) -> bool:
    """Tell whether the walk down has been in `stage`, so that something of it may be there."""
    return operation.deepest in DOWN[DOWN.index(stage) :]


# Of a check


async def look(operation: Operation, deadline: float) -> None:
    """Look at devices and rows, and have the switch answer."""
    await _each(partial(inspect, operation.chassis), operation.members, deadline)


# The ports of a stage


async def _each(act: Act, members: Iterable[PortWork], deadline: float) -> None:
    await _all([_call(act, member, deadline) for member in members])


async def _call(act: Act, member: PortWork, deadline: float) -> None:
    try:
        await act(member, deadline=deadline)
    except OfctlError as error:
        error.metadata.setdefault("port_id", member.spec.port_id)
        raise


async def _all(calls: list[Coroutine[Any, Any, None]]) -> None:
    """Await all calls; then raise the first error, if any: nothing of a stage is left running behind it."""
    if len(calls) == 1:
        await calls[0]
        return
    errors = [error for error in await asyncio.gather(*calls, return_exceptions=True) if error is not None]
    # An error of one port is what the caller wants to hear of; that its neighbours lost the switch meanwhile is not.
    errors.sort(key=lambda error: isinstance(error, Unavailable | OutcomeUnknown | NotFound))
    if errors:
        raise errors[0]


HANDLERS: dict[Stage, Callable[[Operation, float], Awaitable[None]]] = {
    Stage.INTENT: write_intent,
    Stage.DEVICE: make_devices,
    Stage.ATTACHMENT: attach,
    Stage.FLOWS: install_flows,
    Stage.DATAPATH: settle_datapath,
    Stage.READBACK: read_back,
    Stage.PROBE: probe,
    Stage.BINDING: bind,
    Stage.RECORD: write_confirmation,
    Stage.REVOCATION: revoke_intent,
    Stage.UNBINDING: unbind,
    Stage.WITHDRAWAL: withdraw_flows,
    Stage.DETACHMENT: detach,
    Stage.DEVICE_REMOVAL: remove_devices,
    Stage.OBLIVION: forget,
    Stage.REVERSION: revert_intent,
    Stage.REINSTATEMENT: reinstate_flows,
    Stage.REFITTING: refit_devices,
    Stage.REATTACHMENT: reattach,
    Stage.REBINDING: rebind,
    Stage.CLOSURE: close_unchanged,
    Stage.INSPECTION: look,
}
