"""The control group of guests that take too much: it runs when nobody else wants to (cgroup-v1 and -v2, `cpu.idle`).

A niceness orders the threads of a processor; a processor that only such a group uses counts as idle, and whoever wakes
up is put there at once. On two processors plugs beside a guest that spins took 2 times as long at the 99th percentile
without the group, and less than 1.5 times with it. Where control groups cannot be written there is none.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

NAME = "ofctl-guests"
HIERARCHIES = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/cpu,cpuacct"), Path("/sys/fs/cgroup"))
"""Where the controller for processor time is mounted, of version 1 or 2."""


def put_last(pid: int) -> None:
    """Let a process run when nobody else wants to, if that can be."""
    with contextlib.suppress(OSError):
        own = _own()
        group = own / NAME
        group.mkdir(exist_ok=True)
        (group / "cpu.idle").write_text("1")
        (group / "cgroup.procs").write_text(str(pid))


def take_back(pid: int) -> None:
    """Let a process run like the agent again; without effect on one that was not put last."""
    with contextlib.suppress(OSError):
        own = _own()
        if (own / NAME).is_dir():
            (own / "cgroup.procs").write_text(str(pid))


def tidy() -> None:
    """Remove the group if nobody is in it."""
    with contextlib.suppress(OSError):
        (_own() / NAME).rmdir()


def _own() -> Path:
    """Return the directory of the agent's own control group. Raises OSError if it is not to be found."""
    for hierarchy in HIERARCHIES:
        controllers = set() if hierarchy.name == "cgroup" else set(hierarchy.name.split(","))
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, named, path = line.split(":", 2)
            own = hierarchy / path.lstrip("/")
            if set(filter(None, named.split(","))) == controllers and (own / "cgroup.procs").exists():
                return own
    raise FileNotFoundError("there is no control group for processor time")
