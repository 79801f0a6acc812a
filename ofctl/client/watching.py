"""One stream of port events out of several that were cut: what both clients do when `watch` resumes. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from ofctl.client.errors import ApiError, ResourceExhausted, Unavailable
from ofctl.v1 import port_pb2

RESUME_AFTER_S = 0.1
"""Pause before a cut stream is resumed, in seconds, unless the agent asks for another."""

PortEvent = port_pb2.WatchPortsResponse
_Key = tuple[str, str]


class WatchedPorts:
    """The ports as the reader of the events knows them.

    A snapshot that is sent once more (because the agent restarted, or the reader was away for too long) becomes the
    changes since the last event: what happened in between and was undone again, nobody tells.
    """

    def __init__(self, request: port_pb2.WatchPortsRequest) -> None:
        self._request = request
        self._known: dict[_Key, port_pb2.Port] = {}
        self._present: set[_Key] = set()
        self._synced_once = False
        self._synced = False

    @property
    def began(self) -> bool:
        """Whether the agent has answered at all."""
        return bool(self._known) or self._synced_once

    def next_request(self) -> port_pb2.WatchPortsRequest:
        """Return what to send for the first stream, or for the next one after a cut."""
        if not self._synced:
            # Half a snapshot cannot be resumed.
            self._request.resume_epoch, self._request.resume_revision = "", 0
        self._present.clear()
        self._synced = False
        return self._request

    def take(self, event: PortEvent) -> Iterator[PortEvent]:
        """Yield what the reader is to see of `event`."""
        self._request.resume_epoch, self._request.resume_revision = event.epoch, event.revision
        key = (event.port.spec.port_id, event.port.host_id)
        match event.type:
            case PortEvent.EVENT_TYPE_SYNCED:
                if event.snapshot:
                    yield from self._gone(event)
                self._synced = self._synced_once = True
                yield event
            case PortEvent.EVENT_TYPE_PRESENT:
                self._present.add(key)
                yield from self._seen(key, event)
            case PortEvent.EVENT_TYPE_REMOVED:
                if self._known.pop(key, None) is not None:
                    yield event
            case _:
                yield from self._seen(key, event)

    def _seen(self, key: _Key, event: PortEvent) -> Iterator[PortEvent]:
        before = self._known.get(key)
        if before == event.port:
            return
        self._known[key] = event.port
        if before is not None:
            kind = PortEvent.EVENT_TYPE_CHANGED
        elif self._synced_once:
            kind = PortEvent.EVENT_TYPE_ADDED
        else:
            kind = PortEvent.EVENT_TYPE_PRESENT
        yield PortEvent(type=kind, port=event.port, epoch=event.epoch, revision=event.revision)

    def _gone(self, synced: PortEvent) -> Iterator[PortEvent]:
        for key in sorted(self._known.keys() - self._present):
            yield PortEvent(
                type=PortEvent.EVENT_TYPE_REMOVED,
                port=self._known.pop(key),
                epoch=synced.epoch,
                revision=synced.revision,
            )

    def resumes_after(self, error: ApiError) -> bool:
        """Tell whether the stream may be resumed after `error`, or it is for the reader to know."""
        too_slow = isinstance(error, ResourceExhausted) and error.reason == "WATCH_TOO_SLOW"
        return self.began and (too_slow or isinstance(error, Unavailable))
