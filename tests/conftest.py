"""Fixtures: a network namespace and a real Open vSwitch for each functional test.

The namespace is entered by the thread that runs the test (unshare(2)), so it and every device in it are gone when
the process is, even if it was killed; the daemons die with the process (see `ofctl.sandbox.processes`).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ofctl.sandbox.ovs import PrivateOvs

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def enter_new_netns() -> None:
    """Move the calling thread into a network namespace of its own, with its loopback up."""
    if _libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@pytest.fixture
def netns() -> Iterator[None]:
    """Run the test in a fresh network namespace."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        enter_new_netns()
        yield
    finally:
        if _libc.setns(before, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(before)


@pytest.fixture
def rundir() -> Iterator[Path]:
    """A short-named directory for sockets, databases and logs."""
    path = Path(tempfile.mkdtemp(prefix="oft-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def ovs(netns: None, rundir: Path) -> Iterator[PrivateOvs]:
    """A running private Open vSwitch in the test's own network namespace."""
    switch = PrivateOvs(rundir)
    try:
        switch.start()
        yield switch
    finally:
        switch.stop()
