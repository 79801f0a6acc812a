"""What the switch cannot forward for is refused before anything of it is durable, and keeps no agent from starting."""

from __future__ import annotations

import pytest

from ofctl.errors import ResourceExhausted
from ofctl.model.port import PortState, Recovery
from ofctl.pipeline import membership, world
from tests.functional.engine.lab import Lab
from tests.functional.engine.test_faults import until
from tests.functional.engine.test_update import G1


async def test_a_plug_beyond_what_a_broadcast_can_cost_leaves_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "MAX_COPY_LOOKUPS", 2)
    await lab.plug(lab.spec("p1"), lab.spec("p2"))
    with pytest.raises(ResourceExhausted, match=r"p3.*more than 2 look-ups") as refused:
        await lab.plug(lab.spec("p3", recovery=Recovery.KEEP_TRYING))
    assert refused.value.reason == "PIPELINE_CAPACITY" and "outcome" not in refused.value.metadata
    assert len(lab.engine.inventory) == 2


async def test_an_update_and_a_group_beyond_it_change_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    await lab.apply_group("g1")
    (port,) = await lab.plug(lab.spec("p1"))
    monkeypatch.setattr(world, "MAX_COPY_LOOKUPS", 1)
    with pytest.raises(ResourceExhausted, match="look-ups") as refused:
        await lab.update("p1", security_groups=(G1,))
    assert refused.value.reason == "PIPELINE_CAPACITY" and "outcome" not in refused.value.metadata
    assert lab.port("p1").binding.revision == port.binding.revision
    monkeypatch.setattr(world, "MAX_COPY_LOOKUPS", 2)
    await lab.update("p1", security_groups=(G1,))
    with pytest.raises(ResourceExhausted, match="look-ups") as refused:
        await lab.apply_group("g1", stateful=False)
    assert "outcome" not in refused.value.metadata
    assert lab.engine.security_group(G1).group.stateful
    monkeypatch.setattr(membership, "MAX_CONJUNCTIONS", -1)
    with pytest.raises(ResourceExhausted, match="at most -1"):
        await lab.apply_addresses("new", "192.0.2.0/24")
    assert lab.engine.address_groups() == ()


async def test_a_port_too_many_does_not_keep_the_others_from_coming_back(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.plug(lab.spec("p1"), lab.spec("p2"))
    await lab.stop()
    monkeypatch.setattr(world, "MAX_COPY_LOOKUPS", 1)
    await lab.start()
    states = {name: lab.port(name).binding.state for name in ("p1", "p2")}
    assert states["p1"] is PortState.ACTIVE and states["p2"] is PortState.DOWN
    assert lab.port("p2").binding.state_reason == "PIPELINE_CAPACITY"
    await lab.unplug("p1")
    await until(lambda: lab.port("p2").binding.state is PortState.ACTIVE)
