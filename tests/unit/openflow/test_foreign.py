"""Updates of a flow monitor, read as the switch writes them (OpenFlow 1.5.1, 7.3.5.15)."""

from __future__ import annotations

import struct

import pytest

from ofctl.openflow.foreign import (
    ChangeKind,
    ForeignFlow,
    ForeignGroup,
    ForeignMeter,
    ManyChanges,
    flow_updates,
    forwarded_request,
    monitor_request,
)

ABBREVIATED = struct.pack("!HHI", 8, 4, 77)
PAUSED = struct.pack("!HH4x", 8, 5)
RESUMED = struct.pack("!HH4x", 8, 6)


def full(event: int, table: int, cookie: int, match: bytes = struct.pack("!HH4x", 1, 4)) -> bytes:
    return struct.pack("!HHBBHHH4xQ", 24 + len(match), event, table, 0, 0, 0, 5, cookie) + match


def test_what_others_change_is_told_and_own_changes_are_not() -> None:
    body = full(1, 3, 0x30) + ABBREVIATED + full(3, 4, 0x40) + full(2, 5, 0x50)
    assert list(flow_updates(body)) == [
        ForeignFlow(ChangeKind.ADDED, 3, 0x30),
        ForeignFlow(ChangeKind.MODIFIED, 4, 0x40),
        ForeignFlow(ChangeKind.REMOVED, 5, 0x50),
    ]


@pytest.mark.parametrize("body", [PAUSED, RESUMED])
def test_a_pause_may_hide_anything(body: bytes) -> None:
    assert list(flow_updates(body)) == [ManyChanges()]


@pytest.mark.parametrize("body", [full(1, 3, 0x30)[:-4], struct.pack("!HH", 0, 1)])
def test_what_is_cut_off_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="cut off"):
        list(flow_updates(body))


def test_forwarded_requests_name_group_and_meter() -> None:
    group_mod = struct.pack("!BBHIHBxIHxxI", 6, 15, 24, 9, 1, 0, 55, 0, 0)
    meter_mod = struct.pack("!BBHIHHI", 6, 29, 16, 9, 0, 1, 66)
    assert list(forwarded_request(group_mod)) == [ForeignGroup(55)]
    assert list(forwarded_request(meter_mod)) == [ForeignMeter(66)]


def test_every_table_but_the_ignored_is_watched() -> None:
    request = monitor_request({0, 230})
    tables = [request[offset + 14] for offset in range(0, len(request), 24)]
    assert tables == [table for table in range(254) if table not in (0, 230)]
