"""Servers that stop, die and come back in the middle of a change."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import threading
from collections.abc import Callable

import pytest

from ofctl.errors import DeadlineExceeded, OutcomeUnknown, Unavailable
from ofctl.model.ids import DeviceName
from ofctl.ovsdb.switch import SwitchDatabase
from ofctl.ovsdb.values import (
    BridgeSpec,
    Connected,
    Disconnected,
    InterfaceChanged,
    LockAcquired,
    LockLost,
    SwitchEvent,
)
from ofctl.sandbox.ovs import PrivateOvs
from tests.functional.ovsdb.conftest import BRIDGE, HOST, attachment, soon, tap

TOLERANCE_S = 0.1


async def until(switch: SwitchDatabase, wanted: type, *, seconds: float = 10.0) -> None:
    """Return when an event of that type has come."""
    await _until(switch, lambda event: isinstance(event, wanted), seconds=seconds)


async def until_known(switch: SwitchDatabase, device: str) -> None:
    """Return when the database has a row of that name; it has none yet."""
    await _until(switch, lambda event: isinstance(event, InterfaceChanged) and event.device == device, seconds=10)


async def _until(switch: SwitchDatabase, condition: Callable[[SwitchEvent], bool], *, seconds: float) -> None:
    came = asyncio.Event()

    def look(event: SwitchEvent) -> None:
        if condition(event):
            came.set()

    unsubscribe = switch.subscribe(look)
    try:
        async with asyncio.timeout(seconds):
            await came.wait()
    finally:
        unsubscribe()


async def test_a_frozen_vswitchd_leaves_the_outcome_unknown(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap0")
    ovs.freeze_vswitchd()
    deadline = soon(0.5)
    with pytest.raises(OutcomeUnknown) as unknown:
        await switch.attach(attachment("tap0"), deadline=deadline)
    assert 0 <= asyncio.get_running_loop().time() - deadline < TOLERANCE_S
    assert unknown.value.reason == "SWITCH_BEHIND"

    deadline = soon(0.3)
    with pytest.raises(OutcomeUnknown):
        await switch.detach(DeviceName("tap0"), deadline=deadline)
    assert asyncio.get_running_loop().time() - deadline < TOLERANCE_S
    assert "tap0" not in ovs.vsctl("--no-wait", "list-ports", BRIDGE).split()
    ovs.thaw_vswitchd()
    assert (await switch.attach(attachment("tap0"), deadline=soon())).ofport > 0


async def test_what_waits_behind_a_frozen_vswitchd_was_never_sent(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap0")
    tap("tap1")
    ovs.freeze_vswitchd()
    first = asyncio.ensure_future(switch.attach(attachment("tap0"), deadline=soon(20)))
    await until_known(switch, "tap0")
    deadline = soon(0.3)
    with pytest.raises(DeadlineExceeded) as late:
        await switch.attach(attachment("tap1"), deadline=deadline)
    assert asyncio.get_running_loop().time() - deadline < TOLERANCE_S
    assert late.value.metadata["outcome"] == "absent"
    ovs.thaw_vswitchd()
    assert (await first).ofport > 0
    await switch.attach(attachment("tap0"), deadline=soon())
    assert ovs.vsctl("list-ports", BRIDGE).split() == ["tap0"]


async def test_a_cancelled_call_that_was_not_sent_changes_nothing(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap0")
    tap("tap1")
    ovs.freeze_vswitchd()
    first = asyncio.ensure_future(switch.attach(attachment("tap0"), deadline=soon(20)))
    await until_known(switch, "tap0")
    second = asyncio.ensure_future(switch.attach(attachment("tap1"), deadline=soon(20)))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    ovs.thaw_vswitchd()
    await first
    await switch.attach(attachment("tap0"), deadline=soon())
    assert ovs.vsctl("list-ports", BRIDGE).split() == ["tap0"]


async def test_a_vswitchd_killed_in_the_middle_confirms_when_it_is_back(
    ovs: PrivateOvs, switch: SwitchDatabase
) -> None:
    tap("tap0")
    ovs.freeze_vswitchd()
    pending = asyncio.ensure_future(switch.attach(attachment("tap0"), deadline=soon(20)))
    await until_known(switch, "tap0")
    ovs.kill_vswitchd()
    assert not pending.done()
    ovs.start_vswitchd()
    assert (await pending).ofport == int(ovs.vsctl("get", "Interface", "tap0", "ofport"))


async def test_a_dead_vswitchd_keeps_the_deadline(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap0")
    ovs.kill_vswitchd()
    deadline = soon(0.3)
    with pytest.raises(OutcomeUnknown):
        await switch.attach(attachment("tap0"), deadline=deadline)
    assert asyncio.get_running_loop().time() - deadline < TOLERANCE_S


async def test_a_killed_ovsdb_server_is_noticed_and_found_again(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    events: list[SwitchEvent] = []
    switch.subscribe(events.append)
    ovs.database.kill()
    if switch.connected:
        await until(switch, Disconnected)
    assert not switch.locked
    with pytest.raises(Unavailable) as refused:
        await switch.detach(DeviceName("tap0"), deadline=soon())
    assert refused.value.reason == "OVSDB_DISCONNECTED"

    ovs.database.start()
    await until(switch, LockAcquired)
    assert [type(event) for event in events if not hasattr(event, "state")] == [
        LockLost,
        Disconnected,
        Connected,
        LockAcquired,
    ]
    tap("tap0")
    assert (await switch.attach(attachment("tap0"), deadline=soon())).ofport > 0


async def test_rows_that_vanish_while_disconnected_are_told(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap0")
    await switch.attach(attachment("tap0"), deadline=soon())
    ovs.database.kill()
    if switch.connected:
        await until(switch, Disconnected)
    ovs.database.database.unlink()
    ovs.database.start()
    await until(switch, Connected)
    assert switch.interface(DeviceName("tap0")) is None
    assert switch.bridge(BRIDGE) is None


async def test_an_attach_survives_the_death_of_ovsdb_server(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap0")
    ovs.freeze_vswitchd()
    pending = asyncio.ensure_future(switch.attach(attachment("tap0"), deadline=soon(20)))
    await until_known(switch, "tap0")
    ovs.database.kill()
    ovs.database.start()
    ovs.thaw_vswitchd()
    assert (await pending).ofport > 0
    assert ovs.vsctl("list-ports", BRIDGE).split() == ["tap0"]


async def test_an_obsolete_attach_does_not_win(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    """ovsdb-server does not answer: the attach is given up, and the detach after it has the last word."""
    tap("tap0")
    assert ovs.database.child is not None
    os.kill(ovs.database.child.pid, signal.SIGSTOP)
    deadline = soon(0.3)
    with pytest.raises(OutcomeUnknown):
        await switch.attach(attachment("tap0"), deadline=deadline)
    assert asyncio.get_running_loop().time() - deadline < TOLERANCE_S
    removal = asyncio.ensure_future(switch.detach(DeviceName("tap0"), deadline=soon(20)))
    await asyncio.sleep(0)
    os.kill(ovs.database.child.pid, signal.SIGCONT)
    await removal
    assert ovs.vsctl("list-ports", BRIDGE).split() == []


async def test_only_one_of_two_with_the_same_host_id_can_write(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    second = SwitchDatabase(ovs.database.connection, host_id=HOST)
    await second.start(deadline=soon())
    try:
        assert second.connected
        assert not second.locked
        with pytest.raises(Unavailable) as refused:
            await second.ensure_bridge(BridgeSpec(name="br-two"), deadline=soon())
        assert refused.value.reason == "NOT_LOCKED"
        assert ovs.vsctl("list-br").split() == [BRIDGE]
        taken = asyncio.ensure_future(until(second, LockAcquired))
        await asyncio.sleep(0)
        await switch.close()
        await taken
        await second.ensure_bridge(BridgeSpec(name="br-two"), deadline=soon())
    finally:
        await second.close()


async def test_nobody_there_is_unavailable_at_the_deadline(rundir: object) -> None:
    database = SwitchDatabase(f"unix:{rundir}/nobody.sock", host_id=HOST)
    deadline = soon(0.2)
    with pytest.raises(Unavailable):
        await database.start(deadline=deadline)
    assert asyncio.get_running_loop().time() - deadline < TOLERANCE_S


async def test_close_leaves_no_thread_and_no_descriptor(ovs: PrivateOvs) -> None:
    def count() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(10):
        database = SwitchDatabase(ovs.database.connection, host_id=HOST)
        await database.start(deadline=soon())
        await database.close()
        await database.close()
    assert count() == before


async def test_close_completes_those_who_wait(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap0")
    tap("tap1")
    ovs.freeze_vswitchd()
    sent = asyncio.ensure_future(switch.attach(attachment("tap0"), deadline=soon(20)))
    await until_known(switch, "tap0")
    queued = asyncio.ensure_future(switch.attach(attachment("tap1"), deadline=soon(20)))
    await asyncio.sleep(0)
    await switch.close()
    async with asyncio.timeout(2):
        with pytest.raises(OutcomeUnknown):
            await sent
        with pytest.raises(Unavailable):
            await queued


async def test_what_waits_when_the_connection_goes_was_not_done(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap0")
    tap("tap1")
    ovs.freeze_vswitchd()
    sent = asyncio.ensure_future(switch.attach(attachment("tap0"), deadline=soon(20)))
    await until_known(switch, "tap0")
    queued = asyncio.ensure_future(switch.attach(attachment("tap1"), deadline=soon(20)))
    await asyncio.sleep(0)
    ovs.database.kill()
    async with asyncio.timeout(2):
        with pytest.raises(Unavailable):
            await queued
    sent.cancel()


async def test_descriptors_above_a_thousand_are_no_limit(ovs: PrivateOvs) -> None:
    """select(2) ends at 1023; an agent with many TAPs, veths and callers goes beyond."""
    with contextlib.ExitStack() as held:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while (descriptor := os.open("/dev/null", os.O_RDONLY)) < 1100:
            held.callback(os.close, descriptor)
        held.callback(os.close, descriptor)
        database = SwitchDatabase(ovs.database.connection, host_id=HOST)
        await database.start(deadline=soon())
        try:
            await database.ensure_bridge(BridgeSpec(name=BRIDGE), deadline=soon())
        finally:
            await database.close()
