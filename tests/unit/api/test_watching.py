"""What a reader is told when the stream behind it was cut: nothing twice, and nothing that is not so."""

from __future__ import annotations

import grpc

from ofctl.client.errors import ResourceExhausted, Unavailable
from ofctl.client.watching import PortEvent, WatchedPorts
from ofctl.v1 import port_pb2
from tests.functional.api.test_watch import told


def event(kind: str, port_id: str = "", *, state: int = 2, snapshot: bool = False) -> PortEvent:
    port = port_pb2.Port(spec=port_pb2.PortSpec(port_id=port_id), host_id="h", state=state)  # type: ignore[arg-type]
    return PortEvent(
        type=PortEvent.EventType.Value(f"EVENT_TYPE_{kind}"),
        port=port if port_id else None,
        epoch="e1",
        revision=7,
        snapshot=snapshot,
    )


def texts(watched: WatchedPorts, *events: PortEvent) -> list[str]:
    return [told(seen) for each in events for seen in watched.take(each)]


def synced() -> WatchedPorts:
    """Return one that knows ports a and b."""
    watched = WatchedPorts(port_pb2.WatchPortsRequest(network_id="blue"))
    assert watched.next_request().resume_epoch == "" and not watched.began
    assert texts(watched, event("PRESENT", "a"), event("PRESENT", "b"), event("SYNCED", snapshot=True)) == [
        "present a",
        "present b",
        "synced snapshot",
    ]
    return watched


def test_a_stream_that_was_synced_is_resumed_from_the_last_event() -> None:
    watched = synced()
    request = watched.next_request()
    assert (request.network_id, request.resume_epoch, request.resume_revision) == ("blue", "e1", 7)
    assert texts(watched, event("CHANGED", "a", state=3), event("SYNCED")) == ["changed a", "synced"]


def test_half_a_snapshot_is_asked_for_again_and_not_told_again() -> None:
    watched = WatchedPorts(port_pb2.WatchPortsRequest())
    watched.next_request()
    assert texts(watched, event("PRESENT", "a"), event("PRESENT", "b")) == ["present a", "present b"]
    assert watched.began
    request = watched.next_request()
    assert (request.resume_epoch, request.resume_revision) == ("", 0)
    again = (event("PRESENT", "b"), event("PRESENT", "c"), event("SYNCED", snapshot=True))
    assert texts(watched, *again) == ["present c", "removed a", "synced snapshot"]


def test_half_of_what_was_missed_is_no_ground_to_resume_from() -> None:
    watched = synced()
    watched.next_request()
    assert texts(watched, event("ADDED", "c")) == ["added c"]
    assert watched.next_request().resume_epoch == ""


def test_a_snapshot_once_more_is_told_as_the_changes_since() -> None:
    watched = synced()
    watched.next_request()
    again = (event("PRESENT", "b", state=3), event("PRESENT", "c"), event("SYNCED", snapshot=True))
    assert texts(watched, *again) == ["changed b", "added c", "removed a", "synced snapshot"]


def test_a_port_that_the_reader_never_saw_is_not_removed() -> None:
    assert texts(synced(), event("REMOVED", "x"), event("REMOVED", "a")) == ["removed a"]


def test_what_is_resumed_after() -> None:
    slow = ResourceExhausted(grpc.StatusCode.RESOURCE_EXHAUSTED, "too slow")
    slow.reason = "WATCH_TOO_SLOW"
    full = ResourceExhausted(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    gone = Unavailable(grpc.StatusCode.UNAVAILABLE, "gone")
    watched = WatchedPorts(port_pb2.WatchPortsRequest())
    assert not watched.resumes_after(gone)
    assert [synced().resumes_after(error) for error in (slow, gone, full)] == [True, True, False]
