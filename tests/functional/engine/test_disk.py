"""A plug while the disk of the intents takes no writes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from ofctl.database import schema_file
from ofctl.errors import ResourceExhausted
from ofctl.sandbox.ovs import OvsdbServer, PrivateOvs
from tests.eyes import NOTHING, intended
from tests.functional.engine.lab import Lab
from tests.functional.engine.test_faults import until
from tests.functional.ovsdb.disk import SmallDiskServer


@pytest.fixture
def intents(ovs: PrivateOvs) -> Iterator[OvsdbServer]:
    server = SmallDiskServer(ovs.rundir / "ofctl", name="intents", schema=schema_file())
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def test_a_plug_is_refused_cleanly_and_leaves_nothing(lab: Lab, intents: SmallDiskServer) -> None:
    intents.refuse_writes()
    begun = asyncio.get_running_loop().time()
    with pytest.raises(ResourceExhausted) as refused:
        await lab.plug(lab.spec("p1"))
    assert asyncio.get_running_loop().time() - begun < 2, "it waited for a rollback that had nothing to do"
    assert refused.value.metadata["outcome"] == "ABSENT" and refused.value.stage == "intent"
    assert lab.seen() == NOTHING
    intents.take_writes()
    (port,) = await lab.plug(lab.spec("p1"))
    await lab.see(port)


async def test_a_plug_whose_record_is_refused_is_undone_when_there_is_space(lab: Lab, intents: SmallDiskServer) -> None:
    lab.ovs.freeze_vswitchd()
    plug = asyncio.create_task(lab.plug(lab.spec("p1"), timeout_s=3, request_id="r"))
    await until(lambda: bool(intended(lab.ovs, intents)))
    intents.refuse_writes()
    lab.ovs.thaw_vswitchd()
    with pytest.raises(ResourceExhausted) as refused:
        await plug
    assert refused.value.metadata["outcome"] == "UNKNOWN"
    intents.take_writes()
    await lab.see(timeout_s=10)
