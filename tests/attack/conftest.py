"""The host under attack, and the report."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ofctl.database import schema_file
from ofctl.sandbox.ovs import OvsdbServer, PrivateOvs
from tests.attack.host import AttackedHost
from tests.conftest import CLONE_NEWNET, _libc, enter_new_netns


@pytest.fixture(scope="package")
def host() -> Iterator[AttackedHost]:
    """One host for all attempts, in a network namespace of its own."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    directory = Path(tempfile.mkdtemp(prefix="oft-", dir="/tmp"))
    ovs = PrivateOvs(directory)
    intents = OvsdbServer(directory / "ofctl", name="intents", schema=schema_file())
    enter_new_netns()
    try:
        ovs.start()
        intents.start()
        attacked = AttackedHost(ovs, intents)
        yield attacked
        attacked.close()
    finally:
        intents.stop()
        ovs.stop()
        _libc.setns(before, CLONE_NEWNET)
        os.close(before)
        shutil.rmtree(directory, ignore_errors=True)
