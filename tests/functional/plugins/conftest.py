"""A host with apps: the engine in this process, the top-of-rack daemon in another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ofctl.sandbox.ovs import OvsdbServer, PrivateOvs
from tests.functional.engine.conftest import intents, namespace
from tests.functional.plugins.lab import AppLab, Daemon

__all__ = ["intents", "namespace"]


@pytest.fixture
async def app_lab(ovs: PrivateOvs, intents: OvsdbServer) -> AsyncIterator[AppLab]:
    """A host that is not started yet: set `extra` first."""
    made = AppLab(ovs, intents)
    yield made
    await made.stop()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that runs."""
    made = Daemon(tmp_path)
    made.start()
    yield made
    made.kill()
