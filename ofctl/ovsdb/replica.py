"""python-ovs' replica of a database (`ovs.db.idl.Idl`) with a faster reader and transactions that keep their reply."""

from __future__ import annotations

import collections
import errno
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import ovs.db.idl
import ovs.jsonrpc
import ovs.reconnect
import ovs.stream
import ovs.timeval

from ofctl.ovsdb.framing import MessageSplitter

RECEIVE_BYTES = 65_536
MIN_BACKOFF_MS = 50
MAX_BACKOFF_MS = 250
"""A cluster without a leader sends every client away; it has one again a second after the last one's death."""
PROBE_MS = 1_000
"""How long a member of a cluster may be silent before it is asked for a sign of life; as long again, and it is left."""

Json = dict[str, Any]
RowNotice = Callable[[str, Any, Any], None]
"""Called with what happened (`create`, `update`, `delete`), the row, and for an update a row with the old values."""


class FastConnection(ovs.jsonrpc.Connection):  # type: ignore[misc]
    """A JSON-RPC connection that reads in large pieces and parses in C."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._splitter = MessageSplitter()
        self._messages: collections.deque[object] = collections.deque()

    def recv(self) -> tuple[int, Any]:
        """Return (0, message), or (errno, None): EAGAIN when nothing is complete yet."""
        while not self._messages:
            if self.status:
                return self.status, None
            error, received = self.stream.recv(RECEIVE_BYTES)
            if error == errno.EAGAIN:
                return error, None
            if error or not received:
                self.error(error or ovs.jsonrpc.EOF)
                return self.status, None
            self.received_bytes += len(received)
            try:
                self._messages.extend(self._splitter.feed(received))
            except ValueError:
                self.error(errno.EPROTO)
        message = ovs.jsonrpc.Message.from_json(self._messages.popleft())
        if isinstance(message, str):
            self.error(errno.EPROTO)
            return self.status, None
        return 0, message

    def recv_wait(self, poller: Any) -> None:
        """Wake the poller when `recv` has something to say."""
        if self.status or self._messages:
            poller.immediate_wake()
        else:
            self.stream.recv_wait(poller)


class FastSession(ovs.jsonrpc.Session):  # type: ignore[misc]
    """A session with reconnection whose connections are fast."""

    rpc: Any

    def run(self) -> None:
        """Do what is due; replace a connection that was just made before anything is read from it."""
        super().run()
        if type(self.rpc) is ovs.jsonrpc.Connection:
            self.rpc = FastConnection(self.rpc.stream)

    @classmethod
    def to(cls, remotes: list[str]) -> FastSession:
        """Return a session that connects to one of `remotes`, again and again, with a short back-off."""
        now = ovs.timeval.msec()
        reconnect = ovs.reconnect.Reconnect(now)
        session = cls(reconnect, None, remotes)
        session.pick_remote()
        # Not by set_backoff(), which raises both to 1,000 ms: too long for a server on the same host.
        reconnect.min_backoff, reconnect.max_backoff = MIN_BACKOFF_MS, MAX_BACKOFF_MS
        reconnect.enable(now)
        reconnect.set_backoff_free_tries(len(remotes))
        if len(remotes) > 1:
            reconnect.set_probe_interval(PROBE_MS)
        elif not ovs.stream.stream_or_pstream_needs_probes(reconnect.get_name()):
            reconnect.set_probe_interval(0)
        return session


class Replica(ovs.db.idl.Idl):  # type: ignore[misc]
    """The rows of the tables and columns in `schema`, as the server last told them. One thread only."""

    def __init__(self, remote: str, schema: Json, *, conditions: Mapping[str, list[Any]], on_row: RowNotice) -> None:
        helper = ovs.db.idl.SchemaHelper(schema_json=schema)
        helper.register_all()
        super().__init__(remote, helper)
        self._session = FastSession.to(self._parse_remotes(remote))
        self._on_row = on_row
        for table, condition in conditions.items():
            self.cond_change(table, condition)

    @property
    def complete(self) -> bool:
        """Whether the replica holds everything and follows the server."""
        return bool(self._session.is_connected() and self.state == self.IDL_S_MONITORING)

    @property
    def generation(self) -> int:
        """Counts connections and disconnections."""
        return int(self._session.get_seqno())

    @property
    def lock_answered(self) -> bool:
        """Whether the server has said who holds the lock."""
        return bool(self.lock_name is None or self.has_lock or self.is_lock_contended)

    def notify(self, event: str, row: Any, updates: Any = None) -> None:
        """Hand a change of a row on; rows that vanish while disconnected are not told (`Idl.__clear`)."""
        self._on_row(event, row, updates)


class ReplyTransaction(ovs.db.idl.Transaction):  # type: ignore[misc]
    """A transaction of raw operations (RFC 7047, section 5.2) that keeps the server's reply.

    After `commit`, `sent` tells whether the server may have seen it. `status` as `commit()` returns it; TRY_AGAIN
    with `reply` None means that the connection went before the answer: done or not done.
    """

    def __init__(self, replica: Replica, operations: list[Json]) -> None:
        super().__init__(replica)
        for operation in operations:
            self.add_op(operation)
        self.reply: Any = None
        self.sent = self.commit() == self.INCOMPLETE
        self.first_result = 1 if replica.lock_name else 0
        """Position of the first operation's result in `results`: `commit` puts an assertion of the lock before it."""

    def _process_reply(self, message: Any) -> None:
        self.reply = message.result if message.result is not None else [message.error]
        super()._process_reply(message)

    @property
    def results(self) -> list[Any]:
        """The results of our operations in their order; shorter or with None after a failed one."""
        return list(self.reply[self.first_result :])

    @property
    def failure(self) -> tuple[int | None, str]:
        """The position of the operation that failed (None: at commit, not one operation's) and the server's words."""
        for position, result in enumerate(self.results):
            if isinstance(result, dict) and result.get("error"):
                text = ": ".join(str(result[key]) for key in ("error", "details", "io-error") if result.get(key))
                return (position if position < len(self._operations) else None), text
        return None, str(self.get_error())


def column(row: Any, name: str) -> Any:
    """Return a column of a committed row in plain Python: scalar, None for an empty optional, set, or dict.

    Reads the datum itself; `Row.__getattr__` copies and checks every value of a column, which is slow for `ports`.
    """
    datum = row._data[name]
    kind = datum.type
    if kind.is_map():
        return {key.value: value.value for key, value in datum.values.items()}
    values = {key.value for key in datum.values}
    if kind.n_max == 1:
        return next(iter(values), None)
    return values


def ordered(row: Any, name: str) -> list[Any]:
    """Return the values of a map from position, in their order."""
    return [value for _, value in sorted(column(row, name).items())]


def identity(row: Any) -> uuid.UUID:
    """Return the UUID of a row."""
    found = row.uuid
    assert isinstance(found, uuid.UUID)
    return found
