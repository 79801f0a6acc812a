"""What is missing in the `native` hub of os-ken 4.2: waits that end when they should, and exceptions that end a thread.

Seen there: `Event.wait(timeout)` never times out, `Timeout` does not interrupt, `kill` does nothing, and `TaskExit` is
`Exception`, so that one exception in an event handler ends the application's event loop in silence. Ryu's libraries
(spanning tree, link aggregation, the REST of flows) rely on all four. `connect`, and `kill` and `cancel` of what
`spawn` and `spawn_after` return, are not there. Threads cannot be interrupted anywhere, so as under Ryu's green threads
it happens where they wait: in `hub.sleep` and `hub.Event.wait`.
"""

from __future__ import annotations

import collections
import contextlib
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from os_ken.lib import hub


class TaskExit(BaseException):
    """What `hub.kill` raises in a thread."""


class _Waiting:
    """How one thread is woken, and what is to be raised in it when it waits."""

    def __init__(self) -> None:
        self.woken = threading.Event()
        self.pending: collections.deque[BaseException] = collections.deque()

    def post(self, exception: BaseException) -> None:
        self.pending.append(exception)
        self.woken.set()

    def until(self, done: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait until `done()` or the time is over; return `done()`. Raises what was posted."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self.woken.clear()
            if self.pending:
                raise self.pending.popleft()
            if done():
                return True
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return False
            self.woken.wait(remaining)


_threads: weakref.WeakKeyDictionary[threading.Thread, _Waiting] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def _waiting(thread: threading.Thread) -> _Waiting:
    with _lock:
        return _threads.setdefault(thread, _Waiting())


class Event:
    """`hub.Event`, which times out and can be interrupted."""

    def __init__(self) -> None:
        self._set = False
        self._waiters: set[_Waiting] = set()

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        for waiter in tuple(self._waiters):
            waiter.woken.set()

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Return whether it is set, at the latest after `timeout` seconds."""
        waiter = _waiting(threading.current_thread())
        self._waiters.add(waiter)
        try:
            return waiter.until(self.is_set, timeout)
        finally:
            self._waiters.discard(waiter)


class Timeout(BaseException):
    """`hub.Timeout`: raises itself, or `exception`, in the thread that made it, when that waits."""

    def __init__(self, seconds: float | None = None, exception: BaseException | bool | None = None) -> None:
        super().__init__()
        self.seconds = seconds
        self.exception = exception
        self._thread = _waiting(threading.current_thread())
        self._raised = self if exception is None or isinstance(exception, bool) else exception
        self._timer: threading.Timer | None = None
        self.start()

    def start(self) -> Timeout:
        if self._timer is None and self.seconds is not None:
            self._timer = threading.Timer(self.seconds, self._thread.post, (self._raised,))
            self._timer.daemon = True
            self._timer.start()
        return self

    def cancel(self) -> None:
        """Raise nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        with contextlib.suppress(ValueError):
            self._thread.pending.remove(self._raised)

    def __enter__(self) -> Timeout:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self.cancel()
        return error is self and self.exception is False


def sleep(seconds: float = 0) -> None:
    """Sleep, unless something is to be raised in this thread."""
    _waiting(threading.current_thread()).until(lambda: False, seconds)
    if not seconds:
        time.sleep(0)


def kill(thread: Any) -> None:
    """Let TaskExit be raised in a thread where it waits next."""
    if isinstance(thread, threading.Thread) and thread.is_alive():
        _waiting(thread).post(TaskExit())


def spawn_after(seconds: float, function: Callable[..., object], *args: Any, **options: Any) -> Any:
    """Run `function` in a thread in so many seconds, unless that is killed or cancelled first."""
    raise_error = options.pop("raise_error", False)

    def later() -> None:
        sleep(seconds)
        function(*args, **options)

    return hub.spawn(later, raise_error=raise_error)


def connect(address: Any, family: int = socket.AF_INET, bind: Any = None) -> socket.socket:
    """Connect a socket; with `bind`, from that address. Raises OSError."""
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        if bind is not None:
            connection.bind(bind)
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def joinall(threads: Iterable[Any]) -> None:
    """Wait for the end of threads; the present one is left out."""
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join()


def install() -> None:
    """Put these in the place of the hub's own, before any application is imported."""
    hub.TaskExit = TaskExit
    hub.Event = Event
    hub.Timeout = Timeout
    hub.sleep = sleep
    hub.kill = kill
    hub.HubThread.kill = hub.HubThread.cancel = kill
    hub.spawn_after = spawn_after
    hub.connect = connect
    hub.joinall = joinall
    hub.getcurrent = threading.current_thread
