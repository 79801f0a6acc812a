"""Two hundred lost connections with dumps in flight leave nothing behind: no thread, no descriptor, no task."""

from __future__ import annotations

import asyncio
import gc
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ofctl.errors import DriverError, OutcomeUnknown, SwitchRejected, SwitchUnavailable
from ofctl.openflow import channel as ch
from ofctl.openflow import exchanges as ex
from ofctl.openflow import replies
from ofctl.openflow.switch import Connected, Disconnected, Switch
from ofctl.openflow.wire import flow_image, message
from ofctl.pipeline.changes import AddFlow
from ofctl.pipeline.flow import Cookie, Flow, Match, Table
from tests.functional.openflow.conftest import footprint, within

DPID = 0x0000_5254_0000_0001
FLOW = Flow(Table(1, "first", "test", "test"), 5, Match(), Cookie(1))


def flow_entry(flow: Flow) -> bytes:
    """Return a flow description with one statistic, as OVS dumps it."""
    image = flow_image(flow)
    fixed = struct.pack("!BxH", image.key.table_number, image.key.priority) + image.content[:8]
    match = struct.pack("!HH4x", 1, 4)
    body = fixed + struct.pack("!Q", image.cookie) + match + struct.pack("!HHIQ", 0, 16, 0x80020008, 1)
    body += image.content[8:]
    return struct.pack("!H2x", 4 + len(body)) + body


class FakeSwitch:
    """The other end of a channel, in real bytes. It answers a dump with part after part and never with the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked = asyncio.Event()
        self.echoes = 0
        self.echo_delay_s = 0.0
        self.finish_dumps = False
        self.reject: list[bytes] = []
        self.drop_at_commit = False
        self.discarded = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()
        await self._server.wait_closed()

    def drop(self) -> None:
        """Cut every connection as the kernel does when a process is killed."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self.asked.clear()

    def send(self, frames: bytes) -> None:
        for writer in self._writers:
            writer.write(frames)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        writer.write(message(ch.OFPT_HELLO, 9))
        try:
            while True:
                _, kind, length, xid = struct.unpack("!BBHI", await reader.readexactly(8))
                self._answer(writer, kind, xid, await reader.readexactly(length - 8))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, writer: asyncio.StreamWriter, kind: int, xid: int, body: bytes) -> None:
        if kind == ch.OFPT_FEATURES_REQUEST:
            writer.write(message(ch.OFPT_FEATURES_REPLY, xid, struct.pack("!QIBB2xII", DPID, 0, 254, 0, 0, 0)))
        elif kind == ch.OFPT_ECHO_REPLY:
            self.echoes += 1
        elif kind == ch.OFPT_ECHO_REQUEST:
            loop = asyncio.get_running_loop()
            loop.call_later(self.echo_delay_s, writer.write, message(ch.OFPT_ECHO_REPLY, xid, body))
        elif kind == ex.OFPT_MULTIPART_REQUEST and body[:2] == struct.pack("!H", replies.OFPMP_DESC):
            writer.write(
                message(ch.OFPT_MULTIPART_REPLY, xid, struct.pack("!HH4x", replies.OFPMP_DESC, 0) + bytes(1056))
            )
        elif kind == ex.OFPT_MULTIPART_REQUEST:
            for more in (1, 1, 0 if self.finish_dumps else 1):
                writer.write(message(ch.OFPT_MULTIPART_REPLY, xid, struct.pack("!HH4x", 1, more) + flow_entry(FLOW)))
            self.asked.set()
        elif kind == ex.OFPT_BUNDLE_ADD_MESSAGE and self.reject:
            writer.write(message(ch.OFPT_ERROR, xid, self.reject.pop()))
        elif kind == ex.OFPT_BUNDLE_CONTROL and body[5] == ex.OFPBCT_COMMIT_REQUEST and self.drop_at_commit:
            self.drop()
        elif kind == ex.OFPT_BUNDLE_CONTROL and body[5] == ex.OFPBCT_DISCARD_REQUEST:
            self.discarded.set()
        elif kind == ex.OFPT_BARRIER_REQUEST:
            writer.write(message(ex.OFPT_BARRIER_REPLY, xid))


@pytest.fixture
async def connected(rundir: Path) -> AsyncIterator[tuple[FakeSwitch, Switch]]:
    """A fake switch and our channel to it."""
    fake = FakeSwitch(rundir / "fake.mgmt")
    await fake.start()
    switch = Switch("fake", fake.path)
    await switch.start()
    try:
        await switch.wait_connected(deadline=within(5))
        yield fake, switch
    finally:
        await switch.close()
        await fake.stop()


async def test_two_hundred_reconnects_leave_nothing_behind(rundir: Path) -> None:
    fake = FakeSwitch(rundir / "fake.mgmt")
    await fake.start()
    switch = Switch("fake", fake.path, first_backoff_s=0.0005)
    gc.collect()
    before = footprint()
    events: list[Connected | Disconnected] = []
    switch.subscribe(events.append)
    await switch.start()
    counts: list[tuple[int, int, int]] = []
    for generation in range(1, 201):
        assert await switch.wait_connected(deadline=within(5)) == generation
        dumps = [asyncio.create_task(switch.dump_flows(deadline=within(5))) for _ in range(3)]
        commit = asyncio.create_task(switch.commit([AddFlow(FLOW)], deadline=within(5)))
        await asyncio.wait_for(fake.asked.wait(), 5)
        counts.append(footprint())
        fake.drop()
        for result in await asyncio.gather(*dumps, commit, return_exceptions=True):
            assert isinstance(result, DriverError)
        assert not switch.connected
    assert max(counts) == counts[0]
    assert [type(event) for event in events[:400]] == [Connected, Disconnected] * 200
    await switch.close()
    await fake.stop()
    gc.collect()
    # Not even a timer holds one; the traceback of the last error, which is at hand here, does.
    assert len([each for each in gc.get_objects() if type(each) is ch.Channel]) <= 1
    assert footprint()[1:] == before[1:]
    assert footprint()[0] == before[0] - 1  # The fake's listening socket.


async def test_a_switch_that_comes_back_is_found_within_milliseconds(rundir: Path) -> None:
    fake = FakeSwitch(rundir / "fake.mgmt")
    switch = Switch("fake", fake.path)
    await switch.start()
    with pytest.raises(SwitchUnavailable, match=r"No such file"):
        await switch.wait_connected(deadline=within(0.3))
    await fake.start()
    begun = asyncio.get_running_loop().time()
    await switch.wait_connected(deadline=within(5))
    assert asyncio.get_running_loop().time() - begun < 0.15
    assert switch.dpid == DPID
    await switch.close()
    await fake.stop()


async def test_an_echo_is_answered_between_the_parts_of_a_dump_and_the_dump_is_whole(
    connected: tuple[FakeSwitch, Switch],
) -> None:
    fake, switch = connected
    fake.send(message(99, 4711) + message(ch.OFPT_ECHO_REQUEST, 5, b"ping") + message(10, 3, bytes(24)))
    fake.finish_dumps = True
    assert await switch.dump_flows(deadline=within(5)) == [flow_image(FLOW)] * 3
    assert fake.echoes == 1


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (struct.pack("!HH", 17, 4), "OFPBFC_BUNDLE_CLOSED"),
        (struct.pack("!HHI", 0xFFFF, 38, 0x2320), "OFPET_EXPERIMENTER/NICIRA/38"),
        (struct.pack("!HHI", 0xFFFF, 2600, 0x12345678), "OFPET_EXPERIMENTER/0x12345678/2600"),
        (struct.pack("!HH", 5, 222), "OFPET_FLOW_MOD_FAILED/222"),
        (struct.pack("!HH", 77, 1), "77/1"),
    ],
)
async def test_errors_of_every_kind_are_named_and_the_bundle_is_discarded(
    connected: tuple[FakeSwitch, Switch], body: bytes, name: str
) -> None:
    fake, switch = connected
    fake.reject = [body]
    with pytest.raises(SwitchRejected) as caught:
        await switch.commit([AddFlow(FLOW), AddFlow(FLOW)], deadline=within(5))
    assert caught.value.metadata["of_error"] == name
    assert caught.value.change == 0
    await asyncio.wait_for(fake.discarded.wait(), 5)


@pytest.mark.parametrize(("drop", "what"), [(True, "after a commit was sent"), (False, "not the commit before it")])
async def test_a_commit_without_an_answer_of_its_own_is_unknown(
    connected: tuple[FakeSwitch, Switch], drop: bool, what: str
) -> None:
    fake, switch = connected
    fake.drop_at_commit = drop
    with pytest.raises(OutcomeUnknown, match=what):
        await switch.commit([AddFlow(FLOW)], deadline=within(5))


@pytest.mark.parametrize("frames", [b"\x06\x00\x00\x02\0\0\0\0", message(ch.OFPT_ERROR, 77, b"\0")])
async def test_garbage_ends_the_connection_and_not_the_agent(
    connected: tuple[FakeSwitch, Switch], frames: bytes
) -> None:
    fake, switch = connected
    dump = asyncio.create_task(switch.dump_flows(deadline=within(5)))
    await asyncio.wait_for(fake.asked.wait(), 5)
    fake.send(frames)
    with pytest.raises(SwitchUnavailable):
        await dump
    assert await switch.wait_connected(deadline=within(5)) == 2


async def test_an_echo_is_asked_for_when_it_is_due_and_has_its_time_to_be_answered(rundir: Path) -> None:
    fake = FakeSwitch(rundir / "fake.mgmt")
    fake.echo_delay_s = 0.05
    await fake.start()
    switch = Switch("fake", fake.path, echo_interval_s=0.2, echo_timeout_s=0.4)
    lost = asyncio.Event()
    switch.subscribe(lambda event: lost.set() if isinstance(event, Disconnected) else None)
    await switch.start()
    try:
        await switch.wait_connected(deadline=within(5))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.3):
                await lost.wait()
    finally:
        await switch.close()
        await fake.stop()
