"""Fresh evidence for the ports that depend on security groups, each an operation of its own on the port."""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from ofctl.engine.inventory import Key
from ofctl.engine.port_book import SWITCH_DISCONNECTED
from ofctl.engine.stages import Stage, Walk
from ofctl.errors import Aborted, DeadlineExceeded, OfctlError, Unavailable
from ofctl.model.confirmation import Level
from ofctl.model.port import PortState
from ofctl.model.security import SecurityGroupId
from ofctl.model.vif import PluggedPort

if TYPE_CHECKING:
    from ofctl.engine.host_engine import HostEngine

OF_FLOWS = frozenset({"READBACK_DIFFERS", "PROBE_FAILED", "FLOWS_CHANGED"})
"""What says that the switch does not do what was asked. What else is wrong with a port is not the change's doing."""


async def look_at_ports(
    engine: HostEngine, groups: AbstractSet[SecurityGroupId], level: Level, *, deadline: float
) -> tuple[PluggedPort, ...]:
    """Return the ports that have one of the groups, in order of their keys, each seen as it is in the switch now.

    A port that is not ACTIVE is returned as it is, without evidence: its flows are right when it is mended. Raises
    DriverError (`OF_FLOWS`), Unavailable, DeadlineExceeded.
    """
    keys = {
        (spec.port_id, spec.host_id) for spec in engine.inventory.specs() if not groups.isdisjoint(spec.security_groups)
    }
    found = await asyncio.gather(*(_look(engine, key, level, deadline) for key in sorted(keys)), return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return tuple(each for each in found if isinstance(each, PluggedPort))


async def _look(engine: HostEngine, key: Key, level: Level, deadline: float) -> PluggedPort | None:
    """Return a port with evidence; None if it is gone."""
    book = engine.book
    while (present := book.operation_on(key)) is not None:
        if not await present.verdict(deadline):
            break
        # Let who waits for it, too, and came first, go first.
        await asyncio.sleep(0)
    binding = book.durable(key)
    if binding is None:
        return None
    shown = book.port(key).binding
    if present is not None or (shown.state is not PortState.ACTIVE and shown.state_reason != SWITCH_DISCONNECTED):
        return book.port(key)
    check = engine.operation(
        (engine.work_on(binding, existed=True),),
        Stage.INSPECTION,
        walk=Walk.CHECK,
        level=level,
        forward_deadline=deadline,
    )
    engine.begin(check)
    try:
        await check.wait_confirmed(deadline)
    except (Unavailable, DeadlineExceeded):
        raise
    except Aborted:
        pass  # An unplug overtook it.
    except OfctlError as error:
        if error.reason in OF_FLOWS:
            raise
    return book.port(key) if book.durable(key) is not None else None
