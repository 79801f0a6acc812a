"""Classic applications, unmodified, on bridges of their own."""

from __future__ import annotations

from tests.functional.guests.conftest import EXAMPLES, Start


def test_a_learning_switch_forwards_and_installs_flows(guests: Start) -> None:
    lab = guests(learn=EXAMPLES / "learning_switch.py")
    lab.running("learn")
    one, _ = lab.host("br-learn")
    _, other = lab.host("br-learn")
    assert one.pings(other, count=3), lab.log()
    assert any("dl_dst=" in flow for flow in lab.flows("br-learn"))
    app = lab.wait_for("learn", lambda app: app.flows >= 3)
    assert app.kind == "guest" and app.bridge == "br-learn" and not app.last_error and not app.restarts
