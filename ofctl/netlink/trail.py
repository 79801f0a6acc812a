"""By which names in which directories a path is found: symbolic links followed, missing parts included."""

from __future__ import annotations

import errno
import os
from collections import deque
from dataclasses import dataclass, field

_MAX_LINKS = 40
"""As the kernel's own limit (MAXSYMLINKS, path_resolution(7))."""


@dataclass(slots=True)
class Trail:
    """Where a path leads to now."""

    names: list[tuple[str, str]] = field(default_factory=list)
    """Each (directory, name) on the way. The last one may not exist: if it comes, the path leads further."""
    pid: int | None = None
    """The path goes into /proc/PID, where names come and go without events."""


class Tracer:
    """Follows paths; what it has read once it does not read again, so make one for each look."""

    def __init__(self) -> None:
        self._links: dict[str, str | None] = {}

    def trail(self, path: str) -> Trail:
        """Return the trail of an absolute path; never raises for a path."""
        trail = Trail()
        pending = deque(path.split("/"))
        directory, links = "/", 0
        while pending:
            name = pending.popleft()
            if name in ("", "."):
                continue
            if name == "..":
                directory = os.path.dirname(directory)
                continue
            if directory == "/proc":
                trail.pid = int(name) if name.isascii() and name.isdigit() else None
                return trail
            trail.names.append((directory, name))
            here = os.path.join(directory, name)
            try:
                target = self._link(here)
            except (OSError, ValueError):
                return trail
            if target is None:
                directory = here
                continue
            links += 1
            if links > _MAX_LINKS:
                return trail
            pending.extendleft(reversed(target.split("/")))
            if target.startswith("/"):
                directory = "/"
        return trail

    def _link(self, path: str) -> str | None:
        """Return the target of a symbolic link, None for anything else that exists. Raises OSError."""
        if path not in self._links:
            try:
                self._links[path] = os.readlink(path)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._links[path] = None
        return self._links[path]
