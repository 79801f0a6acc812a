"""A whole host in the test: a private switch, a store of intents, and the engine in this very process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from ofctl.database import schema_file
from ofctl.sandbox.ovs import OvsdbServer, PrivateOvs
from tests.functional.engine.lab import Lab, Namespace


@pytest.fixture
def intents(ovs: PrivateOvs) -> Iterator[OvsdbServer]:
    """The intents' database, on a server of its own."""
    server = OvsdbServer(ovs.rundir / "ofctl", name="intents", schema=schema_file())
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
async def lab(ovs: PrivateOvs, intents: OvsdbServer) -> AsyncIterator[Lab]:
    """A started host with one local network, `n1`."""
    made = Lab(ovs, intents)
    try:
        await made.start()
        await made.apply_network()
        yield made
    finally:
        await made.stop()


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A network namespace for a consumer."""
    with Namespace() as made:
        yield made
