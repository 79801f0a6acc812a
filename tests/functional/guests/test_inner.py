"""Guests in fences on the owned bridge."""

from __future__ import annotations

from pathlib import Path

from tests.functional.guests.conftest import EXAMPLES, Start


def test_a_learning_switch_forwards_for_plugged_ports(guests: Start, rundir: Path) -> None:
    lab = guests(learn=EXAMPLES / "learning_switch.py", fenced={"learn": "from-port"})
    lab.running("learn")
    one, _, _ = lab.plugged("p1")
    _, other, ofport = lab.plugged("p2")
    assert one.pings(other, count=3), lab.log() + "\n".join(lab.flows("br-int"))
    assert any("dl_dst=" in flow and f"output:{ofport}" in flow for flow in lab.flows("br-int"))
    app = lab.wait_for("learn", lambda app: app.flows >= 3)
    assert app.kind == "guest" and app.bridge == "br-int" and not app.last_error and not app.restarts
    assert not lab.client.audit().findings
