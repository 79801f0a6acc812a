"""The unix socket that callers connect to, and the proof of who they are.

gRPC's core accepts connections by itself and tells Python nothing about the peer of a unix socket. So the agent
accepts them here, asks the kernel for the peer's uid (SO_PEERCRED, unix(7)), and carries the bytes to a gRPC server
that serves this uid alone, on a socket in a directory that nobody but the agent's user can enter. See
docs/adr/0003-peer-credentials.md.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import grp
import logging
import os
import shutil
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from ofctl.errors import ConfigError
from ofctl.log import fields

MAX_PATH_BYTES = 107
"""unix(7), sun_path without its final zero."""
_UCRED = struct.Struct("3i")
_READ_BYTES = 65_536
_BACKLOG = 128

logger = logging.getLogger(__name__)

Backend = Callable[[int], Awaitable[Path]]
"""Returns the socket of the server that serves a uid; starts that server if need be."""


class PeerDoor:
    """Accepts connections on `path`; gives each to the backend of its peer's uid."""

    def __init__(self, path: Path, *, mode: int, group: str) -> None:
        self.path = path
        self.inner = path.with_name(path.name + ".peers")
        self._mode = mode
        self._group = group
        self._lock: int | None = None
        self._listener: asyncio.Server | None = None
        self._links: set[_Half] = set()

    async def open(self, backend: Backend) -> None:
        """Listen. Raises ConfigError if somebody else does already, or if the path cannot be used."""
        longest = self.inner / str(2**32 - 1)
        if len(os.fsencode(longest)) > MAX_PATH_BYTES:
            over = len(os.fsencode(longest)) - MAX_PATH_BYTES
            raise _refusal(f"{self.path} is {over} bytes too long for a unix socket and those behind it")
        try:
            self._claim()
            listener = self._bind()
        except OSError as error:
            raise _refusal(f"cannot listen on {self.path}: {os.strerror(error.errno or 0)}") from error
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_unix_server(lambda: _Outer(self._links, backend), sock=listener)

    def _claim(self) -> None:
        """Make the directories; take the lock that one agent alone can hold, for as long as its process lives."""
        if not self.path.parent.exists():
            self.path.parent.mkdir(parents=True)
            self.path.parent.chmod(0o755)
        lock = os.open(
            self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise _refusal(f"another agent listens on {self.path}; stop it, or use another path") from None
        self._lock = lock
        if self.inner.exists():
            shutil.rmtree(self.inner)
        self.inner.mkdir(mode=0o700)

    def _bind(self) -> socket.socket:
        if self.path.exists():
            if not stat.S_ISSOCK(self.path.stat().st_mode):
                raise _refusal(f"{self.path} is there and is no socket; remove it, or use another path")
            if _somebody_listens(self.path):
                raise _refusal(f"another process listens on {self.path}; stop it, or use another path")
            self.path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            # On Linux the mode of the socket is that of the file made by bind(), so nobody can connect too early.
            os.fchmod(listener.fileno(), 0o600)
            listener.bind(str(self.path))
            if self._group:
                os.chown(self.path, -1, _gid(self._group))
            self.path.chmod(self._mode)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
        return listener

    def close(self) -> None:
        """Accept no more; what is connected stays."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self.path.unlink(missing_ok=True)

    def release(self) -> None:
        """Cut what is connected, and leave the path to another agent. Safe to call when `open` has failed."""
        self.close()
        for link in list(self._links):
            link.cut()
        if self._lock is not None:
            shutil.rmtree(self.inner, ignore_errors=True)
            os.close(self._lock)
            self._lock = None


class _Half(asyncio.BufferedProtocol):
    """One side of a forwarded connection: what is read here is written to `other`, at the pace that it takes."""

    def __init__(self, links: set[_Half]) -> None:
        self._links = links
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self.transport: asyncio.Transport | None = None
        self.other: _Half | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._links.add(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert self.other is not None and self.other.transport is not None
        self.other.transport.write(bytes(self._buffer[:nbytes]))

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._links.discard(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def cut(self) -> None:
        """End the connection at once."""
        if self.transport is not None:
            self.transport.abort()


class _Outer(_Half):
    """The caller's side."""

    def __init__(self, links: set[_Half], backend: Backend) -> None:
        super().__init__(links)
        self._backend = backend
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        # Soon and not now: Python 3.11.2 (Debian 12) starts to read after this callback, paused or not.
        asyncio.get_running_loop().call_soon(self.transport.pause_reading)
        peer: socket.socket = transport.get_extra_info("socket")
        _, uid, _ = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        self._connecting = asyncio.create_task(self._connect(uid & 0xFFFFFFFF))

    async def _connect(self, uid: int) -> None:
        assert self.transport is not None
        try:
            path = await self._backend(uid)
            loop = asyncio.get_running_loop()
            _, inner = await loop.create_unix_connection(lambda: _Half(self._links), str(path))
        except Exception as error:  # the top of the connection's task
            logger.error("a caller could not be served", exc_info=error, extra=fields(uid=uid))
            self.transport.abort()
            return
        inner.other, self.other = self, inner
        if self.transport.is_closing():
            inner.cut()
            return
        self.transport.resume_reading()


def _somebody_listens(path: Path) -> bool:
    """Tell whether a connection is accepted; a socket that nobody listens on is refused (unix(7), ECONNREFUSED)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        code = probe.connect_ex(str(path))
    return code not in (errno.ECONNREFUSED, errno.ENOENT)


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(
            f"[grpc] socket_group is {group!r}, and there is no such group", subject="grpc.socket_group"
        ) from None


def _refusal(problem: str) -> ConfigError:
    return ConfigError(f"[grpc] socket: {problem}", subject="grpc.socket")
