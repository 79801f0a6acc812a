"""Tells when network namespaces come and go, by events of the kernel: no timer, no thread, no namespace held alive.

Three sources, because a namespace gets a path in three ways:

- a bind mount on a file (`ip netns add`, Docker, podman, CNI): the file comes first and is no namespace; the mount is
  what makes it one, and no inotify event tells of a mount. The kernel does: `MountEvents`;
- a symbolic link to such a path or to /proc/PID/ns/net: the names on the way, by `Inotify`;
- /proc/PID/ns/net itself: it ends with its process, which a pidfd tells (pidfd_open(2)).

Mounts are seen in the mount namespace of this process. One made elsewhere arrives only by propagation
(mount_namespaces(7)): systemd's own namespaces for services are slaves of the host's, so the unit's are right. Not
seen: a process of which the PID stays and which moves to another namespace (setns(2)).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ofctl.netlink.inotify import IN_DELETE, IN_MOVED_FROM, IN_Q_OVERFLOW, Inotify
from ofctl.netlink.kernel import step
from ofctl.netlink.mount_events import MountEvents
from ofctl.netlink.namespaces import netns_identity
from ofctl.netlink.trail import Tracer

logger = logging.getLogger(__name__)

_FOLLOW_ATTEMPTS = 8
_RETRY_S = 0.2
"""When the directories do not hold still, or no descriptor is left to look with."""


@dataclass(frozen=True, slots=True)
class NamespaceChange:
    """A path has become a network namespace that can be opened, or has ceased to be one."""

    path: str
    present: bool


@dataclass(slots=True, eq=False)
class _Watch:
    """One path that somebody watches."""

    path: str
    callback: Callable[[NamespaceChange], None]
    told: bool | None = None
    known: tuple[int, int] | None = None
    places: set[tuple[int, str]] = field(default_factory=set)
    """(inotify watch, name) that decide where the path leads."""
    pid: int | None = None
    ended: set[int] = field(default_factory=set)
    """Processes that have ended: what /proc has under their number later is another's."""
    replaced: bool = False
    """A name on the way was taken away since the last look."""


class _Process:
    """A pidfd, and who watches a path of that process."""

    def __init__(self, pid: int) -> None:
        self.fd = os.pidfd_open(pid)
        self.watches: set[_Watch] = set()


class NamespaceWatch:
    """Watches paths of network namespaces. To be made and used in the event loop's thread."""

    def __init__(self) -> None:
        """Raises DeviceError if the kernel gives no descriptors."""
        self._loop = asyncio.get_running_loop()
        with step("listen to the comings and goings of namespaces", subject=""):
            self._inotify = Inotify()
            try:
                self._mounts = MountEvents()
            except BaseException:
                self._inotify.close()
                raise
        self._watches: set[_Watch] = set()
        self._places: dict[int, dict[str, set[_Watch]]] = {}
        self._processes: dict[int, _Process] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._closed = False
        self._loop.add_reader(self._inotify.fileno(), self._heard)
        self._loop.add_reader(self._mounts.fileno(), self._mounted)

    def watch(self, path: str, callback: Callable[[NamespaceChange], None]) -> Callable[[], None]:
        """Call `callback` in the loop, soon with what `path` is now, then at every change; return how to end that.

        The path is absolute; neither it nor its parents need exist. A namespace that was replaced by another one
        between two looks is reported as gone and then as present. Never raises for a path. The callback must not
        block and must not raise. A path below /proc/PID ends with its process and does not come back: a number says
        nothing about the next process that gets it.
        """
        watch = _Watch(path, callback)
        self._watches.add(watch)
        self._loop.call_soon(self._look, (watch,))

        def end() -> None:
            self._watches.discard(watch)
            self._settle(watch, set(), None)

        return end

    def close(self) -> None:
        """End all watching. Safe to call again."""
        if self._closed:
            return
        self._closed = True
        for watch in tuple(self._watches):
            self._watches.discard(watch)
            self._settle(watch, set(), None)
        if self._retry is not None:
            self._retry.cancel()
        for source in (self._inotify, self._mounts):
            self._loop.remove_reader(source.fileno())
            source.close()

    # Events

    def _heard(self) -> None:
        self._look(self._touched())

    def _mounted(self) -> None:
        """Look at everything. What inotify has is older than the mount, and must not be taken for news afterwards."""
        self._touched()
        self._look(tuple(self._watches))

    def _touched(self) -> set[_Watch]:
        """Take what inotify has; return the watches that it concerns.

        Every directory on the way is watched, from the root on, so the end of one is an event of its parent's.
        """
        touched: set[_Watch] = set()
        for wd, mask, name in self._inotify.read():
            if mask & IN_Q_OVERFLOW:
                touched |= self._watches
            for watch in self._places.get(wd, {}).get(name, ()):
                touched.add(watch)
                watch.replaced |= bool(mask & (IN_DELETE | IN_MOVED_FROM))
        return touched

    def _process_ended(self, pid: int) -> None:
        process = self._processes.pop(pid)
        self._loop.remove_reader(process.fd)
        os.close(process.fd)
        for watch in process.watches:
            watch.ended.add(pid)
            watch.pid = None
        self._look(tuple(process.watches))

    # Looking

    def _look(self, watches: Iterable[_Watch]) -> None:
        """Follow the paths anew and tell what is news. What happens after the last step of a path is an event."""
        watches = [watch for watch in watches if watch in self._watches]
        for _ in range(_FOLLOW_ATTEMPTS):
            tracer, fresh = Tracer(), False
            numbers: dict[str, int | None] = {}
            for watch in watches:
                fresh |= self._follow(watch, tracer, numbers)
            if not fresh:
                break
        else:
            self._look_again()
        for watch in watches:
            try:
                gone = watch.pid is None and self._leads_to_ended(watch, tracer)
                now = None if gone else netns_identity(watch.path, None if watch.replaced else watch.known)
            except OSError as error:
                logger.warning("cannot look at the network namespace %s: %s", watch.path, error)
                self._look_again()
                continue
            self._tell(watch, now)

    def _look_again(self) -> None:
        if self._retry is None:
            self._retry = self._loop.call_later(_RETRY_S, self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        self._look(tuple(self._watches))

    def _leads_to_ended(self, watch: _Watch, tracer: Tracer) -> bool:
        return bool(watch.ended) and tracer.trail(watch.path).pid in watch.ended

    def _tell(self, watch: _Watch, now: tuple[int, int] | None) -> None:
        other = watch.known is not None and (now != watch.known or watch.replaced)
        watch.known, watch.replaced = now, False
        if other or (watch.told is None and now is None):
            watch.told = False
            watch.callback(NamespaceChange(watch.path, present=False))
        # The callback may have ended the watch.
        if now is not None and not watch.told and watch in self._watches:
            watch.told = True
            watch.callback(NamespaceChange(watch.path, present=True))

    def _follow(self, watch: _Watch, tracer: Tracer, numbers: dict[str, int | None]) -> bool:
        """Hear of all names on the way of a path. Return whether some are new: they may have changed before."""
        trail = tracer.trail(watch.path)
        places = set()
        for directory, name in trail.names:
            if directory not in numbers:
                numbers[directory] = self._number(directory)
            number = numbers[directory]
            if number is not None:
                places.add((number, name))
        pid = trail.pid if trail.pid not in watch.ended else None
        return self._settle(watch, places, pid)

    def _number(self, directory: str) -> int | None:
        try:
            return self._inotify.add(directory)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            logger.warning("cannot watch the directory %s: %s", directory, error)
            return None

    def _settle(self, watch: _Watch, places: set[tuple[int, str]], pid: int | None) -> bool:
        """Make these the places and the process that a path hangs on; return whether any of them is new."""
        fresh = places - watch.places
        for number, name in fresh:
            self._places.setdefault(number, {}).setdefault(name, set()).add(watch)
        for number, name in watch.places - places:
            self._leave(watch, number, name)
        watch.places = places
        return self._attend(watch, pid) or bool(fresh)

    def _leave(self, watch: _Watch, number: int, name: str) -> None:
        names = self._places.get(number, {})
        names.get(name, set()).discard(watch)
        if not names.get(name):
            names.pop(name, None)
        if not names:
            self._places.pop(number, None)
            self._inotify.remove(number)

    def _attend(self, watch: _Watch, pid: int | None) -> bool:
        """Hear of the end of process `pid` on behalf of a watch; return whether it is a new one."""
        if pid == watch.pid:
            return False
        if watch.pid is not None:
            process = self._processes[watch.pid]
            process.watches.discard(watch)
            if not process.watches:
                del self._processes[watch.pid]
                self._loop.remove_reader(process.fd)
                os.close(process.fd)
        watch.pid = None
        if pid is None:
            return False
        try:
            if pid not in self._processes:
                process = self._processes[pid] = _Process(pid)
                self._loop.add_reader(process.fd, self._process_ended, pid)
        except ProcessLookupError:
            watch.ended.add(pid)
            return False
        except OSError as error:
            logger.warning("cannot hear of the end of process %d: %s", pid, error)
            self._look_again()
            return False
        self._processes[pid].watches.add(watch)
        watch.pid = pid
        return True
