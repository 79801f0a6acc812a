"""What is waited for on a channel: a bundle in its two steps, a multipart reply."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from ofctl.openflow.channel import OFPT_ERROR, OFPT_MULTIPART_REPLY
from ofctl.openflow.refusals import Refusal, refusal
from ofctl.openflow.wire import encode_change, message
from ofctl.pipeline.changes import Change

OFPT_MULTIPART_REQUEST = 18
OFPT_BARRIER_REQUEST = 20
OFPT_BARRIER_REPLY = 21
OFPT_BUNDLE_CONTROL = 33
OFPT_BUNDLE_ADD_MESSAGE = 34
OFPBCT_OPEN_REQUEST = 0
OFPBCT_COMMIT_REQUEST = 4
OFPBCT_COMMIT_REPLY = 5
OFPBCT_DISCARD_REQUEST = 6
OFPBF_ATOMIC_ORDERED = 3
OFPMPF_REPLY_MORE = 1

Item = TypeVar("Item")

_pack_control = struct.Struct("!IHH").pack
_pack_add = struct.Struct("!BBHIIxxH").pack


class ConnectionGone(Exception):
    """The channel went away before the answer."""


class BundleExchange:
    """The transaction ids of one bundle: open, one for each change, barrier, commit, barrier."""

    def __init__(self, first_xid: int, bundle_id: int, changes: Sequence[Change]) -> None:
        self.first_xid = first_xid
        self.bundle_id = bundle_id
        self.count = len(changes)
        self.add_barrier_xid = first_xid + self.count + 1
        self.commit_xid = first_xid + self.count + 2
        self.last_xid = first_xid + self.count + 3
        self.errors: list[Refusal] = []
        self.committed = False
        """The switch has answered that the bundle is committed."""
        loop = asyncio.get_running_loop()
        self.added: asyncio.Future[None] = loop.create_future()
        self.confirmed: asyncio.Future[None] = loop.create_future()
        self._changes = changes

    @staticmethod
    def size(changes: Sequence[Change]) -> int:
        """Return how many transaction ids it takes."""
        return len(changes) + 4

    def opening(self) -> bytes:
        """Return open, adds and barrier. The inner message has the xid of its wrapper: else OFPBFC_MSG_BAD_XID."""
        frames = [self._control(OFPBCT_OPEN_REQUEST, self.first_xid)]
        for xid, change in enumerate(self._changes, self.first_xid + 1):
            inner = encode_change(change, xid)
            frames.append(
                _pack_add(6, OFPT_BUNDLE_ADD_MESSAGE, 16 + len(inner), xid, self.bundle_id, OFPBF_ATOMIC_ORDERED)
            )
            frames.append(inner)
        frames.append(message(OFPT_BARRIER_REQUEST, self.add_barrier_xid))
        return b"".join(frames)

    def closing(self) -> bytes:
        """Return commit and barrier."""
        return self._control(OFPBCT_COMMIT_REQUEST, self.commit_xid) + message(OFPT_BARRIER_REQUEST, self.last_xid)

    def discard(self) -> bytes:
        """Return what throws the bundle away."""
        return self._control(OFPBCT_DISCARD_REQUEST, self.commit_xid)

    def guilty(self) -> tuple[int | None, Refusal]:
        """Return the first error and the index of its change; None if the switch named none."""
        named = [error for error in self.errors if self.first_xid < error.xid < self.add_barrier_xid]
        return (named[0].xid - self.first_xid - 1, named[0]) if named else (None, self.errors[0])

    def received(self, kind: int, xid: int, body: bytes) -> bool:
        if kind == OFPT_ERROR:
            self.errors.append(refusal(xid, body))
        elif kind == OFPT_BUNDLE_CONTROL and xid == self.commit_xid:
            self.committed = struct.unpack_from("!IH", body)[1] == OFPBCT_COMMIT_REPLY
        elif kind == OFPT_BARRIER_REPLY and xid == self.add_barrier_xid:
            _finish(self.added)
        elif kind == OFPT_BARRIER_REPLY and xid == self.last_xid:
            _finish(self.confirmed)
            return True
        return False

    def lost(self) -> None:
        for future in (self.added, self.confirmed):
            _fail(future, ConnectionGone())

    def _control(self, kind: int, xid: int) -> bytes:
        return message(OFPT_BUNDLE_CONTROL, xid, _pack_control(self.bundle_id, kind, OFPBF_ATOMIC_ORDERED))


class MultipartExchange(Generic[Item]):
    """A multipart request. Each part is read when it comes, so that a long dump never holds up the loop for long."""

    def __init__(self, xid: int, kind: int, body: bytes, read: Callable[[bytes], Iterator[Item]]) -> None:
        self.first_xid = self.last_xid = xid
        self.request = message(OFPT_MULTIPART_REQUEST, xid, struct.pack("!HH4x", kind, 0) + body)
        self.done: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()
        self.items: list[Item] = []
        self._read = read

    def received(self, kind: int, xid: int, body: bytes) -> bool:
        if kind == OFPT_ERROR:
            if not self.done.done():
                self.done.set_result(refusal(xid, body))
            return True
        if kind != OFPT_MULTIPART_REPLY:
            return False
        self.items.extend(self._read(body[8:]))
        if struct.unpack_from("!HH", body)[1] & OFPMPF_REPLY_MORE:
            return False
        if not self.done.done():
            self.done.set_result(None)
        return True

    def lost(self) -> None:
        _fail(self.done, ConnectionGone())


class SingleExchange:
    """A request that one message answers; `done` gets its body, or the refusal."""

    def __init__(self, xid: int, kind: int, answer_kind: int, body: bytes = b"") -> None:
        self.first_xid = self.last_xid = xid
        self.request = message(kind, xid, body)
        self.done: asyncio.Future[bytes | Refusal] = asyncio.get_running_loop().create_future()
        self._answer_kind = answer_kind

    def received(self, kind: int, xid: int, body: bytes) -> bool:
        if kind not in (OFPT_ERROR, self._answer_kind):
            return False
        if not self.done.done():
            self.done.set_result(refusal(xid, body) if kind == OFPT_ERROR else body)
        return True

    def lost(self) -> None:
        _fail(self.done, ConnectionGone())


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # Marks it as seen: a caller that gave up does not come back for it.
