"""What every request to the engine is checked for, whatever it asks."""

from __future__ import annotations

from collections.abc import Iterable

from ofctl.errors import InvalidField, NotSupported, PermissionDenied
from ofctl.model.confirmation import BUILT_LEVELS, Level, Outcome, RequestRecord
from ofctl.model.ids import HostId, PortId, RequestId


def check_built(level: Level) -> None:
    """Raise NotSupported for a level that this version cannot show."""
    if level not in BUILT_LEVELS:
        best = max(BUILT_LEVELS).name
        raise NotSupported(f"level {level.name} is not built yet; the host can show {best}", reason="LEVEL")


def check_principal(owner: str, principal: str, *, admin: bool) -> None:
    """Raise PermissionDenied unless `principal` may change a port that `owner` plugged."""
    if not admin and owner != principal:
        raise PermissionDenied(f"{owner} plugged this port; only that principal or an admin may do this")


def used_elsewhere(request_id: RequestId) -> InvalidField:
    """Return the error for a request id that stands for another request."""
    return InvalidField("request_id", f"{request_id!r} was used for another port; make a new one")


def new_record(request_id: RequestId, host_id: HostId, ports: Iterable[PortId], *, at_ms: int) -> RequestRecord:
    """Return the record of a request that begins. `ports` is not empty."""
    listed = tuple(ports)
    return RequestRecord(
        request_id=request_id,
        port_id=listed[0],
        port_ids=frozenset(listed),
        host_id=host_id,
        outcome=Outcome.IN_PROGRESS,
        at_ms=at_ms,
    )
