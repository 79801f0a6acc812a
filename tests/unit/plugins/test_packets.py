"""What an app's `packet_in` may return, how it goes into the tables, and how much of one sender an app is handed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import repeat

import pytest

from ofctl.apps import CORE_APPS
from ofctl.apps.testing import flows_of
from ofctl.engine import dropping
from ofctl.engine.dropping import Limits, SenderLimits
from ofctl.errors import AppFailed
from ofctl.model.ids import NetworkIndex, PhysicalNetwork, PortIndex
from ofctl.pipeline.anchors import place_apps
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.packets import MAX_ANSWERS, MAX_FRAME, Injection, Sender, injections, mute
from ofctl.pipeline.tables import FROM_OUTSIDE, muted_cookie
from ofctl.plugin import FeatureApp, Flow, FromPort, PacketIn, PacketOut, ToApp, ToOutside, ToPort, World, WorldPort
from tests.unit.plugins.apps import WORLD, Both

FRAME = bytes(60)
LOCAL_PORT, VLAN = PortIndex(2), NetworkIndex(3)


class Taker(Both):
    """Hands over in both of its tables."""

    name = "taker"

    def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
        for flow in super().port_flows(port, world):
            yield Flow(flow.table, flow.priority, flow.match, flow.cookie, (ToApp(9),))

    def packet_in(self, packet: PacketIn, world: World) -> Iterable[PacketOut]:
        return ()


(TAKER,) = place_apps([Taker], {})


def told(*answers: object, world: World = WORLD) -> list[str]:
    assert TAKER.place is not None
    return [_text(injection) for injection in injections(answers, TAKER.place, world)]


def _text(injection: Injection) -> str:
    registers = ",".join(str(term) for term in injection.registers)
    return f"in_port={injection.in_port} {registers} {injection.table} {len(injection.frame)}"


def test_how_answers_go_into_the_tables() -> None:
    assert told(ToPort(FRAME, LOCAL_PORT)) == ["in_port=4294967293 reg0=0x1/0xffff,reg2=0x2/0xffffffff deliver 60"]
    assert told(ToOutside(FRAME, VLAN)) == ["in_port=4294967293 reg0=0x3/0xffff,reg2=0x1000000/0xffffffff deliver 60"]
    assert told(FromPort(FRAME, LOCAL_PORT, "in", (("CLASS", 5),))) == [
        "in_port=12 reg0=0x1/0xffff,reg1=0x2/0xffffffff,reg12=0x5/0xf taker.in 60"
    ]


def test_what_is_for_nobody_is_left_out() -> None:
    gone = (ToPort(FRAME, PortIndex(99)), FromPort(FRAME, PortIndex(99), "in"), ToOutside(FRAME, NetworkIndex(99)))
    assert told(*gone, ToOutside(FRAME, NetworkIndex(1)), ToPort(FRAME, LOCAL_PORT)) == told(ToPort(FRAME, LOCAL_PORT))
    without = WORLD.without_uplink(PhysicalNetwork("rehearsal"))
    assert told(ToOutside(FRAME, VLAN), world=without) == []


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([None], "returned None, which is no ToPort"),
        ([ToPort(FRAME[:13], LOCAL_PORT)], "a frame that is not 14 to 16384 bytes"),
        ([ToPort(bytes(MAX_FRAME + 1), LOCAL_PORT)], "a frame that is not"),
        ([ToPort("text", LOCAL_PORT)], "a frame that is not"),  # type: ignore[arg-type]
        ([FromPort(FRAME, LOCAL_PORT, "flood")], "from table 'flood', which the app has not declared after"),
        ([FromPort(FRAME, LOCAL_PORT, "out")], "from table 'out', which the app has not declared after classify"),
        ([FromPort(FRAME, LOCAL_PORT, "in", (("SOURCE", 1),))], "sets register 'SOURCE', which the app does not"),
        ([FromPort(FRAME, LOCAL_PORT, "in", (("CLASS", 16),))], "does not fit in 4 bits"),
        ([ToPort(FRAME, LOCAL_PORT)] * (MAX_ANSWERS + 1), "more than 16 packets"),
        (repeat(ToPort(FRAME, LOCAL_PORT)), "more than 16 packets"),
    ],
)
def test_what_cannot_be_sent(answers: Iterable[object], problem: str) -> None:
    assert TAKER.place is not None
    with pytest.raises(ValueError, match=problem):
        injections(answers, TAKER.place, WORLD)


def test_handlers_are_numbered_and_only_they_may_hand_over() -> None:
    class Other(Taker):
        name = "other"

    class Without(Taker):
        name = "without"
        packet_in = FeatureApp.packet_in

    placed = place_apps([Both, Taker, Other], {})
    flows = {str(flow) for flow in Compiler((*CORE_APPS, *placed)).compile_all(WORLD).flows}
    for name, value in (("taker", "0x109"), ("other", "0x209")):
        handed = f"actions=set_field:{value}/0xffff->reg7,resubmit(,to-app)"
        assert any(flow.startswith(f"table={name}.out,") and flow.endswith(handed) for flow in flows)
    said = flows_of(Taker, world=WORLD)
    assert "table=taker.out,cookie=PORT:2,priority=20," in said and "actions=to_app(9)" in said
    assert "actions=set_field:0x3/0xf->reg12,goto_table:onward" in said
    with pytest.raises(AppFailed, match=r"whose action to_app\(9\) the app has no packet_in for"):
        flows_of(Without, world=WORLD)
    with pytest.raises(ValueError, match="a tag of ToApp is 0 to 255"):
        ToApp(256)


def test_a_mute_is_about_one_sender_and_one_app() -> None:
    port, outside = Sender.of(1, 7), Sender.of(1, FROM_OUTSIDE)
    assert str(mute(2, port)).endswith(
        "priority=300,reg7=0x200/0x7f00,reg4=0x0/0x80000000,reg1=0x7/0xffffffff actions=drop"
    )
    assert "reg0=0x1/0xffff" in str(mute(2, outside)) and "reg1=0x1000000/0xffffffff" in str(mute(2, outside))
    cookies = {
        mute(number, sender).cookie for number in (1, 127) for sender in (port, outside, Sender.of(7, FROM_OUTSIDE))
    }
    assert len(cookies) == 6 and muted_cookie(1, 7, outside=False) in cookies


async def test_a_sender_has_its_share_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    now = 1000.0
    monkeypatch.setattr(loop, "time", lambda: now)
    limits = SenderLimits(Limits(per_sender=10, per_app=100))
    hostile, good = Sender.of(1, 1), Sender.of(1, 2)
    assert [limits.take(hostile) for _ in range(14)] == [True] * 10 + [False] * 4
    assert not limits.is_flood(hostile)
    assert limits.take(good)
    assert not limits.take(hostile) and limits.is_flood(hostile) and not limits.is_flood(hostile)
    now += 0.5
    assert [limits.take(hostile) for _ in range(7)] == [True] * 5 + [False] * 2
    now += 1.0  # Once it has kept to its rate, what it did before is forgotten.
    for _ in range(14):
        limits.take(hostile)
    assert not limits.is_flood(hostile)


async def test_all_senders_together_have_no_more_than_the_app_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 1000.0)
    monkeypatch.setattr(dropping, "MAX_SENDERS", 8)
    limits = SenderLimits(Limits(per_sender=10, per_app=20))
    assert sum(limits.take(Sender.of(1, index)) for index in range(1, 100)) == 20
