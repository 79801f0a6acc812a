"""The DATAPATH level, shown with real frames and thousands of cached megaflows.

A veth's far end sends, another's receives. Each source address has a megaflow of its own, because one flow matches on
an exact address. Frames are sent in bursts, each followed by a marker that a flow of its own always forwards: when the
marker has arrived, the burst has been handled.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ofctl.errors import DeadlineExceeded, SwitchUnavailable
from ofctl.openflow.revalidation import SCRATCH_TABLE, Revalidators
from ofctl.openflow.switch import Switch
from ofctl.openflow.unixctl import ControlClosed, ControlFailed, ControlSocket
from ofctl.pipeline import fields as f
from ofctl.pipeline.changes import AddFlow
from ofctl.pipeline.flow import Cookie, Flow, Match, Output, Table, Term
from ofctl.sandbox.ovs import PrivateOvs
from tests.functional.openflow.conftest import BRIDGE, footprint, within

FIRST = Table(0, "first", "test", "test")
TRAFFIC, MARKER = 0x88B5, 0x88B6
BURST = 50
SO_RCVBUFFORCE = 33


class Wires:
    """The far ends of the two veth pairs whose near ends are ports 1 and 2 of the bridge."""

    def __init__(self) -> None:
        self.sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.sender.bind(("far1", 0))
        self.receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        self.receiver.bind(("far2", 0))
        self.receiver.settimeout(5)

    def close(self) -> None:
        self.sender.close()
        self.receiver.close()

    def send(self, sources: range) -> int:
        """Send a frame from each source; return how many came out at the other end."""
        arrived = 0
        for start in range(sources.start, sources.stop, BURST):
            for source in range(start, min(start + BURST, sources.stop)):
                self.sender.send(frame(source, TRAFFIC))
            self.sender.send(frame(0, MARKER))
            while self.receiver.recv(2048)[12:14] != MARKER.to_bytes(2, "big"):
                arrived += 1
        return arrived


def frame(source: int, ethertype: int) -> bytes:
    return (
        bytes.fromhex("525400000002")
        + (0x525400000000 + source).to_bytes(6, "big")
        + ethertype.to_bytes(2, "big")
        + bytes(46)
    )


def traffic(*actions: Output) -> list[AddFlow]:
    """The flow that all traffic takes, with these actions."""
    return [AddFlow(Flow(FIRST, 10, Match.of(Term(f.IN_PORT, 1), Term(f.ETH_TYPE, TRAFFIC)), Cookie(1), actions))]


FIXED = [
    AddFlow(Flow(FIRST, 30, Match.of(Term(f.IN_PORT, 1), Term(f.ETH_TYPE, MARKER)), Cookie(1), (Output(2),))),
    AddFlow(
        Flow(FIRST, 20, Match.of(Term(f.ETH_TYPE, TRAFFIC), Term(f.ETH_SRC, 0x020000000001)), Cookie(1), (Output(2),))
    ),
]


@pytest.fixture
def wires(bridge: PrivateOvs) -> Iterator[Wires]:
    for number in (1, 2):
        near, far = f"near{number}", f"far{number}"
        subprocess.run(["ip", "link", "add", near, "type", "veth", "peer", "name", far], check=True)
        for device in (near, far):
            Path(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6").write_text("1")
            subprocess.run(["ip", "link", "set", device, "up"], check=True)
        bridge.vsctl("add-port", BRIDGE, near, "--", "set", "interface", near, f"ofport_request={number}")
    wires = Wires()
    yield wires
    wires.close()


@pytest.fixture
def revalidators(bridge: PrivateOvs, switch: Switch) -> Revalidators:
    return Revalidators(bridge.rundir, switch)


def cached_megaflows(bridge: PrivateOvs) -> int:
    return sum(
        int(line.partition("(keys ")[2].rstrip(")"))
        for line in bridge.appctl("upcall/show").splitlines()
        if "keys" in line
    )


async def frames_by_the_old_tables(
    bridge: PrivateOvs, switch: Switch, wires: Wires, *, flows: int, rounds: int, confirm: Callable[[], object] | None
) -> int:
    """Change between forward and drop under cached megaflows; count what is handled wrongly after each change."""
    wrong = 0
    sources = range(1, flows + 1)
    await switch.commit([*FIXED, *traffic()], deadline=within(5))
    wires.send(sources)
    for number in range(rounds):
        forward = number % 2 == 0
        wires.send(sources)
        assert cached_megaflows(bridge) >= flows
        await switch.commit(traffic(*(Output(2),) * forward), deadline=within(5))
        if confirm is not None:
            await confirm()  # type: ignore[misc]
        arrived = wires.send(sources)
        wrong += flows - arrived if forward else arrived
    return wrong


async def test_after_the_barrier_alone_frames_are_handled_by_the_old_tables(
    bridge: PrivateOvs, switch: Switch, wires: Wires
) -> None:
    for _ in range(20):  # The first round is nearly always enough.
        if await frames_by_the_old_tables(bridge, switch, wires, flows=3000, rounds=2, confirm=None):
            return
    pytest.fail("the frames of the next test show nothing")


@pytest.mark.parametrize(("flows", "rounds"), [(20, 20), (3000, 6)])
async def test_after_settling_not_one_frame_is_handled_by_the_old_tables(
    bridge: PrivateOvs, wires: Wires, revalidators: Revalidators, flows: int, rounds: int
) -> None:
    switch = revalidators.switch

    async def confirm() -> None:
        await revalidators.settle(deadline=within(5))

    assert await frames_by_the_old_tables(bridge, switch, wires, flows=flows, rounds=rounds, confirm=confirm) == 0
    await revalidators.close()
    assert not await switch.dump_flows(deadline=within(5), table=SCRATCH_TABLE)


async def test_settling_is_right_while_a_dump_is_running_that_began_before_the_change(
    bridge: PrivateOvs, wires: Wires, revalidators: Revalidators
) -> None:
    """One `revalidator/wait` returns at the end of a dump that may have passed a megaflow before the change."""
    switch = revalidators.switch

    async def disturb() -> None:
        number = 0
        while True:
            number += 1
            flow = Flow(Table(5, "unused", "test", "test"), number % 100, Match(), Cookie(2))
            await switch.commit([AddFlow(flow)], deadline=within(5))
            await asyncio.sleep(0.0005)

    async def confirm() -> None:
        await revalidators.settle(deadline=within(5))

    disturber = asyncio.create_task(disturb())
    try:
        wrong = await frames_by_the_old_tables(bridge, switch, wires, flows=3000, rounds=8, confirm=confirm)
    finally:
        disturber.cancel()
        await asyncio.wait([disturber])
    assert wrong == 0
    await revalidators.close()


async def test_while_settling_no_frame_of_an_unchanged_flow_is_lost(
    bridge: PrivateOvs, switch: Switch, wires: Wires, revalidators: Revalidators
) -> None:
    await switch.commit([*FIXED, *traffic(Output(2))], deadline=within(5))
    for flows in (20, 1000):
        for _ in range(5):
            settling = asyncio.create_task(revalidators.settle(deadline=within(5)))
            assert await asyncio.to_thread(wires.send, range(1, flows + 1)) == flows
            await settling
    await revalidators.close()


@pytest.mark.parametrize("flows", [0, 200])
async def test_callers_share_the_work_and_what_is_known_is_younger_than_they(
    wires: Wires, revalidators: Revalidators, monkeypatch: pytest.MonkeyPatch, flows: int
) -> None:
    switch = revalidators.switch
    sent: list[str] = []
    begun = asyncio.Event()
    run = ControlSocket.run

    async def counted(control: ControlSocket, *commands: str) -> object:
        sent.append(commands[-1])
        if commands[-1] != "upcall/show":
            begun.set()
        return await run(control, *commands)

    await switch.commit([*FIXED, *traffic()], deadline=within(5))
    wires.send(range(1, flows + 1))
    monkeypatch.setattr(ControlSocket, "run", counted)
    await asyncio.gather(*(revalidators.settle(deadline=within(5)) for _ in range(50)))
    work = [command for command in sent if command != "upcall/show"]
    assert work == (["revalidator/wait"] * 2 if flows else ["revalidator/purge"])
    sent.clear()
    begun.clear()
    early = asyncio.create_task(revalidators.settle(deadline=within(5)))
    await asyncio.wait_for(begun.wait(), 5)
    await revalidators.settle(deadline=within(5))
    assert early.done()
    work = [command for command in sent if command != "upcall/show"]
    assert work == (["revalidator/wait"] * 3 if flows else ["revalidator/purge"] * 2)
    await revalidators.close()


async def test_nobody_listens_and_nobody_answers(
    bridge: PrivateOvs, switch: Switch, revalidators: Revalidators, rundir: Path
) -> None:
    await revalidators.settle(deadline=within(5))
    before = footprint()
    bridge.freeze_vswitchd()
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await revalidators.settle(deadline=within(0.2))
    assert time.monotonic() - begun < 0.3
    bridge.thaw_vswitchd()
    await revalidators.settle(deadline=within(5))
    waiting = asyncio.gather(*(revalidators.settle(deadline=within(5)) for _ in range(3)), return_exceptions=True)
    bridge.freeze_vswitchd()
    await asyncio.sleep(0)
    bridge.kill_vswitchd()
    assert [type(error) for error in await waiting] == [SwitchUnavailable] * 3
    with pytest.raises(SwitchUnavailable):
        await revalidators.settle(deadline=within(5))
    bridge.start_vswitchd()
    await switch.wait_connected(deadline=within(5))
    await revalidators.settle(deadline=within(5))
    assert footprint() == before
    bridge.kill_vswitchd()
    bridge.start_vswitchd()
    await revalidators.settle(deadline=within(5))  # Another pid, another control socket.
    (rundir / "ovs-vswitchd.pid").unlink()
    with pytest.raises(SwitchUnavailable, match="No such file"):
        await revalidators.settle(deadline=within(5))
    await revalidators.close()


async def test_the_control_socket_reads_answers_in_pieces_and_tells_errors_from_results(rundir: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        for answer in ({"id": 0, "result": "one", "error": None}, {"id": 1, "result": None, "error": "no\n"}):
            text = json.dumps(answer).encode() + b"\n"
            for cut in (text[:9], text[9:]):
                writer.write(cut)
                await asyncio.sleep(0.005)  # So that the halves are read one by one.
        writer.close()

    path = rundir / "x.ctl"
    server = await asyncio.start_unix_server(serve, str(path))
    control = await ControlSocket.connect(path)
    assert await control.run("a") == ["one"]
    with pytest.raises(ControlFailed, match=r"^no$"):
        await control.run("b")
    with pytest.raises(ControlClosed):
        await control.run("c")
    control.close()
    server.close()
    await server.wait_closed()
    with pytest.raises(ControlClosed):
        await ControlSocket.connect(path)


async def test_an_answer_that_is_too_long_is_an_error_of_the_daemon(rundir: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await reader.read(4096))
        assert asked["params"] == ["zone=5"]
        writer.write(json.dumps({"id": 0, "result": "x" * 100_000, "error": None}).encode())
        writer.close()

    server = await asyncio.start_unix_server(serve, str(rundir / "x.ctl"))
    for longest, failing in ((1 << 20, False), (50_000, True)):
        control = await ControlSocket.connect(rundir / "x.ctl")
        control.longest_answer = longest
        if failing:
            with pytest.raises(ControlFailed, match="longer than 50000"):
                await control.run("dpctl/dump-conntrack zone=5")
        else:
            assert await control.run("dpctl/dump-conntrack zone=5") == ["x" * 100_000]
        control.close()
    server.close()
    await server.wait_closed()
