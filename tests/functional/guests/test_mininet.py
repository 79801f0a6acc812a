"""The example of Mininet on a guest's bridge."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest
from mininet.net import Mininet

from ofctl.sandbox.ovs import environment
from tests.functional.guests.conftest import EXAMPLES, Start


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mininet_learning", EXAMPLES / "mininet_learning.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pingall_through_a_learning_switch(guests: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = guests(learn=EXAMPLES / "learning_switch.py")
    lab.running("learn")
    # Mininet's initialisation raises sysctls of the whole machine; three hosts do not need it.
    monkeypatch.setattr(Mininet, "inited", True)
    for name, value in environment(lab.ovs.rundir).items():
        monkeypatch.setenv(name, value)
    net = example().start("br-learn")
    try:
        assert net.pingAll(timeout="2") == 0, lab.log()
        assert sum("dl_dst=" in flow for flow in lab.flows("br-learn")) >= 6
    finally:
        net.stop()
    assert lab.ovs.vsctl("list-ports", "br-learn").split() == []
