"""The flows of the guard, as written down. `UPDATE_GOLDEN=1 pytest` writes them anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from ofctl_guard import Guard

from ofctl.apps.testing import check_golden, example_world, flows_of
from ofctl.plugin import Place

GOLDEN = Path(__file__).parent / "golden"
OPTIONS = {"guard": {"tcp_ports": ["25"]}}


def test_every_port_is_guarded() -> None:
    check_golden(GOLDEN / "flows.txt", flows_of(Guard, world=example_world(), options=OPTIONS))


def test_an_annotation_replaces_the_option() -> None:
    world = example_world({"guard/tcp-ports": "465,587"})
    check_golden(GOLDEN / "annotation.txt", flows_of(Guard, world=world, options=OPTIONS))


def test_an_empty_annotation_guards_nothing() -> None:
    flows = flows_of(Guard, world=example_world({"guard/tcp-ports": ""}), options=OPTIONS)
    assert "reg1=0x2/0xffffffff" not in flows
    assert "reg1=0x3/0xffffffff" in flows


@pytest.mark.parametrize("value", ["0", "65536", "http", ",", ",".join(map(str, range(1, 18)))])
def test_annotations_that_are_wrong(value: str) -> None:
    with pytest.raises(ValueError, match="TCP ports from 1 to 65535"):
        Guard(Place()).check_annotation("tcp-ports", value)
