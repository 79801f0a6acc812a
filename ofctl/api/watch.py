"""The stream of port events: which of the engine's events a reader gets, and what they mean to one who resumes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from ofctl.api.convert import event_to_proto
from ofctl.engine.contract import PlugEngine
from ofctl.errors import InvalidField, Unavailable
from ofctl.model.events import PortEvent, PortEventType
from ofctl.model.port import PortSpec
from ofctl.v1 import port_pb2


def matches(spec: PortSpec, filters: tuple[str, ...]) -> bool:
    """Tell whether a port has the network, project, device and host that are asked for; an empty one asks for none."""
    values = (spec.network_id, spec.project_id, spec.device_id, spec.host_id)
    return all(wanted in ("", value) for wanted, value in zip(filters, values, strict=True))


def seen_through(filters: tuple[str, ...], event: PortEvent) -> PortEvent | None:
    """Return what an event is to a reader with these filters; None if it is nothing.

    An update may change what a port is filtered by: then it comes or goes, as far as that reader can see.
    """
    if event.port is None:
        return event
    now = matches(event.port.binding.spec, filters)
    if event.event_type is not PortEventType.CHANGED or event.before is None:
        return event if now else None
    if matches(event.before.binding.spec, filters):
        return event if now else replace(event, event_type=PortEventType.REMOVED, port=event.before)
    return replace(event, event_type=PortEventType.ADDED) if now else None


async def port_events(
    engine: PlugEngine, request: port_pb2.WatchPortsRequest
) -> AsyncGenerator[port_pb2.WatchPortsResponse, None]:
    """Yield what WatchPorts promises. Raises InvalidField, Unavailable when the engine ends, ResourceExhausted."""
    epoch, after = request.resume_epoch, request.resume_revision
    if after and not epoch:
        raise InvalidField("resume_epoch", "is missing; resume_revision means nothing without it")
    filters = (request.network_id, request.project_id, request.device_id, request.host_id)
    snapshot: bool | None = None
    # The contract says that the iterator is to be closed.
    events = cast("AsyncGenerator[PortEvent, None]", engine.watch(epoch=epoch, after=after))
    async with aclosing(events):
        async for event in events:
            if snapshot is None:
                snapshot = _begins_snapshot(event, epoch, after)
            if (told := seen_through(filters, event)) is not None:
                yield event_to_proto(told, snapshot=snapshot)
    raise Unavailable("the agent is stopping; watch again when it is back", reason="AGENT_STOPPING")


def _begins_snapshot(first: PortEvent, epoch: str, after: int) -> bool:
    """Tell by the first event of a stream whether it has a snapshot, or resumes from `after` of `epoch`."""
    match first.event_type:
        case PortEventType.PRESENT:
            return True
        case PortEventType.SYNCED:
            # Nothing was missed, or there is no port.
            return (first.epoch, first.revision) != (epoch, after)
        case _:
            return False
