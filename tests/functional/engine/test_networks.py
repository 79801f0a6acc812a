"""What a network says of its ports holds when ApplyNetwork returns."""

from __future__ import annotations

import asyncio
import os
import select
from dataclasses import replace
from io import FileIO
from typing import Any

import pytest

from ofctl.engine.flow_tables import FlowTables
from ofctl.errors import OutcomeUnknown, Refused, SwitchRejected
from ofctl.ovsdb.intents import IntentStore
from tests.eyes import open_tap
from tests.functional.engine.lab import NETWORK, Lab, in_s
from tests.functional.engine.test_faults import until
from tests.functional.engine.test_update_faults import flows

BROADCAST, OWN, FORGED = b"\xff" * 6, bytes.fromhex("525400000001"), bytes.fromhex("525400000066")
ARP = bytes.fromhex("0806 0001 0800 06 04 0001")
"""A request (RFC 826)."""
ROUNDS = 8


def announcement(sender: bytes, number: int) -> bytes:
    """Return a gratuitous ARP request for an address that is nobody's, a megaflow of its own for each number."""
    address = bytes((10, 1, 200, number))
    return (BROADCAST + sender + ARP + sender + address + bytes(6) + address).ljust(60, b"\0")


def arrived(tap: FileIO, frame: bytes, *, timeout_s: float) -> bool:
    while select.select([tap], [], [], timeout_s)[0]:
        if os.read(tap.fileno(), 2048) == frame:
            return True
    return False


async def test_nothing_cached_outlives_a_change_of_a_network(lab: Lab) -> None:
    (sender,) = await lab.plug(lab.spec("p1", mac_address="52:54:00:00:00:01"))
    (receiver,) = await lab.plug(lab.spec("p2"))
    with open_tap(sender.binding.device) as source, open_tap(receiver.binding.device) as target:
        for number in range(ROUNDS):
            forged, honest = announcement(FORGED, number), announcement(OWN, number)
            for _ in range(3):
                source.write(forged)
            source.write(honest)
            assert arrived(target, honest, timeout_s=2)
            await lab.apply_network(replace(NETWORK, port_security=False))
            source.write(forged)
            assert arrived(target, forged, timeout_s=2), f"round {number}: a cached drop outlived the call"
            await lab.apply_network(NETWORK)
            source.write(forged)
            source.write(honest)
            ready = select.select([target], [], [], 2)[0]
            assert ready and os.read(target.fileno(), 2048) == honest, f"round {number}: a cached way outlived the call"


OPEN = replace(NETWORK, port_security=False)


async def consistent(lab: Lab) -> None:
    """Fail unless the switch has what the agent means it to have, and has after a restart."""
    present = flows(lab)
    assert (await lab.engine.audit(repair=False, deadline=in_s(10))).findings == ()
    shown = lab.engine.network(NETWORK.network_id)
    await lab.stop()
    await lab.start()
    assert lab.engine.network(NETWORK.network_id) == shown
    assert flows(lab) == present


async def test_a_caller_that_goes_away_leaves_no_half_of_a_change(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    await lab.plug(lab.spec("p1"))
    original, begun, go_on = FlowTables.apply, asyncio.Event(), asyncio.Event()

    async def slow(self: FlowTables, *arguments: Any, **named: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await original(self, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(FlowTables, "apply", slow)
        call = asyncio.create_task(lab.apply_network(OPEN))
        await begun.wait()
        call.cancel()
        await asyncio.wait([call])
        go_on.set()
        await until(lambda: not lab.engine.network(NETWORK.network_id).network.port_security)
    await lab.apply_network(OPEN)
    await consistent(lab)


@pytest.mark.parametrize("error", [SwitchRejected, OutcomeUnknown])
async def test_a_change_that_the_switch_does_not_take_changes_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """What is shown, stored and forwarded for stays the same, also if the switch did it and nobody saw the answer."""
    await lab.plug(lab.spec("p1"))
    present = flows(lab)

    async def lost(*_: object, **__: object) -> None:
        raise error("the answer is lost")

    monkeypatch.setattr(FlowTables, "settle", lost)
    asyncio.get_running_loop().call_later(1.2, monkeypatch.undo)
    with pytest.raises(error) as failed:
        await lab.engine.apply_network(OPEN, deadline=in_s(1))
    assert failed.value.metadata["outcome"] in ("UNCHANGED", "UNKNOWN")  # type: ignore[attr-defined]
    await until(lambda: flows(lab) == present)
    assert lab.engine.network(NETWORK.network_id).network == NETWORK
    await consistent(lab)


async def test_a_network_that_the_store_keeps_can_be_used_on(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another host has ports on it."""

    async def refused(*_: object, **__: object) -> None:
        raise Refused("network 'n1' is used by port 'q1' of host 'other'", reason="NETWORK_IN_USE")

    with monkeypatch.context() as patched:
        patched.setattr(IntentStore, "delete_network", refused)
        with pytest.raises(Refused) as failed:
            await lab.engine.delete_network(NETWORK.network_id, deadline=in_s(5))
    assert failed.value.metadata["outcome"] == "UNCHANGED"
    await lab.plug(lab.spec("p1"))
    await consistent(lab)
