"""The greatest generation of each port: never back, bounded, all ports of a request or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofctl.engine.fences import Fences
from ofctl.engine.inventory import Key
from ofctl.errors import Refused
from ofctl.model.ids import HostId, PortId


def key(name: str) -> Key:
    return (PortId(name), HostId("h1"))


def fences(*, limit: int = 100, keeps: frozenset[Key] = frozenset()) -> Fences:
    return Fences(limit=limit, keeps=keeps.__contains__)


def test_an_older_one_is_refused_and_an_equal_one_and_none_are_not() -> None:
    known = fences()
    known.advance([key("p")], 5)
    with pytest.raises(Refused) as stale:
        known.check([key("p")], 4)
    assert stale.value.reason == "STALE_GENERATION" and stale.value.metadata == {"generation": "5"}
    known.check([key("p")], 5)
    known.advance([key("p")], 0)
    assert known.seen(key("p")) == 5


def test_one_stale_port_keeps_all_from_advancing() -> None:
    known = fences()
    known.advance([key("b")], 9)
    with pytest.raises(Refused):
        known.advance([key("a"), key("b")], 8)
    assert known.seen(key("a")) == 0


def test_the_oldest_of_ports_that_are_gone_go_first() -> None:
    known = fences(limit=2, keeps=frozenset({key("kept")}))
    for name in ("kept", "a", "b", "a", "c"):
        known.advance([key(name)], 3)
    assert {name: known.seen(key(name)) for name in ("kept", "a", "b", "c")} == {"kept": 3, "a": 0, "b": 0, "c": 3}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6))))
def test_what_was_let_in_never_goes_back(requests: list[tuple[str, int]]) -> None:
    known = fences()
    newest = dict.fromkeys("abc", 0)
    for name, generation in requests:
        try:
            known.advance([key(name)], generation)
        except Refused:
            assert 0 < generation < newest[name]
        else:
            assert generation == 0 or generation >= newest[name]
            newest[name] = max(newest[name], generation)
        assert known.seen(key(name)) == newest[name]
