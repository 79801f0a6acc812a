"""Tells when network namespaces come and go, by events of the kernel: no timer, no thread, nothing held open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NamespaceChange:
    """A path has become a network namespace that can be opened, or has ceased to be one."""

    path: str
    present: bool


class NamespaceWatch:
    """Watches paths of network namespaces in the mount namespace of this process.

    To be made and used in the event loop's thread.
    """

    def watch(self, path: str, callback: Callable[[NamespaceChange], None]) -> Callable[[], None]:
        """Call `callback` in the loop, soon with what `path` is now, then at every change; return how to end that.

        The path need not exist, nor any of its parents. A namespace that was replaced by another one between two looks
        is reported as gone and then as present. Never raises for a path. A path below /proc/PID ends with its process
        and does not come back: a number of a process that ended says nothing about the next that gets it.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End all watching. Safe to call again."""
