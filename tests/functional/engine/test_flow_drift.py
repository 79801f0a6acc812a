"""What other clients do to the flow tables: noticed by event, told, mended, and frames flow again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ofctl.engine.startup import Host
from ofctl.model.confirmation import Level
from ofctl.model.events import PortEventType
from ofctl.model.port import PortState
from ofctl.pipeline.tables import LAYOUT_VERSION
from ofctl.sandbox.ovs import OvsdbServer, PrivateOvs
from tests.functional.engine.lab import BRIDGE, Lab, Namespace
from tests.functional.engine.test_faults import until

CONFIG_INTERVAL_S = 0.1
STORM = 20_000


class Pair:
    """Two namespaces' ports that can ping each other, and all states that those who watch are told of."""

    def __init__(self, lab: Lab, one: Namespace, two: Namespace) -> None:
        self.lab = lab
        self.one = one
        self.two = two
        self.told: list[tuple[str, PortState, str]] = []
        self.news = asyncio.Event()

    async def plug(self) -> None:
        await self.lab.plug(self.lab.inside("p1", self.one, 5), self.lab.inside("p2", self.two, 6))
        assert await self.ping()

    async def ping(self) -> bool:
        return await asyncio.to_thread(self.one.pings, "10.1.0.6")

    async def follow(self) -> None:
        async for event in self.lab.engine.watch():
            if event.port is not None and event.event_type is not PortEventType.PRESENT:
                binding = event.port.binding
                self.told.append((binding.port_id, binding.state, binding.state_reason))
                self.news.set()

    async def disturb(self, *argv: str) -> None:
        """Let another client change something."""
        self.told.clear()
        await asyncio.to_thread(self.lab.ovs.ovs_ofctl, argv[0], BRIDGE, *argv[1:])

    async def mended(self, *names: str) -> float:
        """Return after how many seconds these ports, all of them and no others, were degraded and active again."""
        begun = time.monotonic()
        wanted = {name: [(PortState.DEGRADED, "FLOWS_CHANGED"), (PortState.ACTIVE, "")] for name in names}
        try:
            async with asyncio.timeout(5):
                while self.seen() != wanted:
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise AssertionError(f"told {self.told}") from None
        return time.monotonic() - begun

    def seen(self) -> dict[str, list[tuple[PortState, str]]]:
        return {name: [(s, r) for each, s, r in self.told if each == name] for name, _, _ in self.told}

    def index(self, name: str) -> int:
        return self.lab.port(name).binding.numbers.index

    def ofport(self, name: str) -> int:
        return int(self.lab.ovs.vsctl("get", "interface", self.lab.port(name).binding.device, "ofport"))

    def cookie(self, name: str) -> str:
        return f"cookie={0x0FC1_0003_0000_0000 | LAYOUT_VERSION << 40 | self.index(name):#x}/-1"

    def tables(self) -> str:
        """What the switch has, as `ovs-ofctl` shows it, in an order of ours."""
        show = self.lab.ovs.ovs_ofctl
        return "\n".join(sorted((show("dump-flows", BRIDGE, "--no-stats") + show("dump-groups", BRIDGE)).splitlines()))


@pytest.fixture
async def lab(ovs: PrivateOvs, intents: OvsdbServer) -> AsyncIterator[Lab]:
    """A started host that looks at the switch's configuration often."""
    made = Lab(ovs, intents)
    try:
        options = replace(made.options(), config_interval_s=CONFIG_INTERVAL_S)
        made.host = Host(options, on_ready=made.ready.append)
        await made.host.start()
        await made.apply_network()
        yield made
    finally:
        await made.stop()


@pytest.fixture
async def pair(lab: Lab) -> AsyncIterator[Pair]:
    with Namespace() as one, Namespace() as two:
        made = Pair(lab, one, two)
        await made.plug()
        following = asyncio.create_task(made.follow())
        await asyncio.sleep(0)
        yield made
        following.cancel()


ONE = ("p1",)
BOTH = ("p1", "p2")
GROUP = "group_id=16777472"


@pytest.mark.parametrize(
    ("ports", "mischief"),
    [
        (ONE, lambda pair: ("del-flows", "table=50," + pair.cookie("p1"))),
        (ONE, lambda pair: ("del-flows", pair.cookie("p1"))),
        (ONE, lambda pair: ("mod-flows", pair.cookie("p1") + ",actions=drop")),
        (ONE, lambda pair: ("add-flow", f"table=0,priority=65535,in_port={pair.ofport('p1')},actions=drop")),
        (BOTH, lambda pair: ("add-flow", "table=50,priority=65535,actions=drop")),
        (BOTH, lambda pair: ("del-flows",)),
        (BOTH, lambda pair: ("del-flows", "table=60")),
        (ONE, lambda pair: ("remove-buckets", f"{GROUP},command_bucket_id={pair.index('p1')}")),
        (BOTH, lambda pair: ("del-groups", GROUP)),
        (BOTH, lambda pair: ("set-frags", "drop")),
    ],
    ids=[
        "a flow deleted",
        "a port's flows deleted",
        "flows changed",
        "a port's flow added",
        "a flow added",
        "all flows deleted",
        "the flood flow deleted",
        "a bucket removed",
        "a group deleted",
        "fragments dropped",
    ],
)
async def test_it_is_noticed_told_and_mended(
    pair: Pair, ports: tuple[str, ...], mischief: Callable[[Pair], tuple[str, ...]]
) -> None:
    before = pair.tables()
    await pair.disturb(*mischief(pair))
    assert await pair.mended(*ports) < 0.5
    assert pair.tables() == before
    assert "nx-match" in pair.lab.ovs.ovs_ofctl("get-frags", BRIDGE)
    assert await pair.ping()
    assert pair.lab.engine.book.counters["flows.mended"] == 1


@pytest.mark.parametrize(
    "argv",
    [
        ("add-group", "group_id=77,type=all,bucket=bucket_id:1,actions=output:1"),
        ("add-flow", "table=7,cookie=0x7,actions=drop"),
    ],
    ids=["a group", "a flow in a table that no frame comes by"],
)
async def test_what_concerns_no_port_goes_and_degrades_none(pair: Pair, argv: tuple[str, ...]) -> None:
    before = pair.tables()
    await pair.disturb(*argv)
    await until(lambda: pair.tables() == before, timeout_s=1)
    assert pair.told == []


async def test_guests_flows_and_what_is_as_it_was_are_nobody_s_news(pair: Pair) -> None:
    before = pair.tables()
    await pair.disturb("add-flow", "table=205,cookie=0x5,actions=drop")
    forward = next(line for line in before.splitlines() if "dl_dst=02:" in line)
    same = forward.strip().partition(", ")[2].replace(", ", ",").replace(" actions", ",actions")
    await pair.disturb("mod-flows", same)
    assert pair.told == []
    await pair.disturb("del-flows", "table=50," + pair.cookie("p2"))
    await pair.mended("p2")
    assert "table=205" in pair.tables()
    assert pair.lab.engine.book.counters["flows.drifted"] == 1


async def test_every_event_is_an_event_of_the_switch_and_no_look_by_the_clock(pair: Pair) -> None:
    """Eight in a row: with a timer of any length some of them would wait for it."""
    for _ in range(8):
        await pair.disturb("del-flows", "table=50," + pair.cookie("p1"))
        assert await pair.mended("p1") < 0.5


async def test_a_storm_of_foreign_flows_while_plugs_go_on(pair: Pair, tmp_path: Path) -> None:
    before = pair.tables()
    storm = tmp_path / "flows"
    storm.write_text("".join(f"table={n % 2 * 50},priority=1,tcp,tp_src={n},actions=drop\n" for n in range(STORM)))
    adding = asyncio.create_task(pair.disturb("add-flows", str(storm)))
    slowest, plugs = 0.0, 0
    while not adding.done() or plugs < 5:
        begun = time.monotonic()
        await pair.lab.plug(pair.lab.spec("p3"), level=Level.READBACK, timeout_s=5)
        slowest = max(slowest, time.monotonic() - begun)
        await pair.lab.unplug("p3")
        plugs += 1
    await adding
    await until(lambda: pair.tables() == before)
    assert await pair.ping()
    assert all(pair.lab.ready), "the host was ready all the time"
    print(f"{plugs} plugs, the slowest took {slowest:.3f} s; {pair.lab.engine.book.counters}")  # noqa: T201
