"""Updates of ports on a real switch: evidence, what the guest sees, joins, conflicts, all or nothing."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from dataclasses import replace
from typing import Any

import pytest

from ofctl.engine.stages import Stage
from ofctl.errors import (
    Aborted,
    AlreadyExists,
    InvalidField,
    NotFound,
    OfctlError,
    PermissionDenied,
    Refused,
    Unavailable,
)
from ofctl.model.confirmation import Level, Outcome
from ofctl.model.ids import PortId
from ofctl.model.network import IpAddress
from ofctl.model.port import PortState
from ofctl.model.security import ICMP, ICMPV6, RuleDirection, SecurityGroupId, SecurityRule
from ofctl.sandbox.ovs import run
from tests.eyes import NOTHING
from tests.functional.engine.lab import HOST, Lab, Namespace, in_s, some
from tests.functional.engine.test_faults import until
from tests.functional.engine.test_fences import reached

LEVELS = (Level.BARRIER, Level.DATAPATH, Level.READBACK, Level.PIPELINE)
G1, G2 = SecurityGroupId("g1"), SecurityGroupId("g2")
PING = (
    SecurityRule(direction=RuleDirection.INGRESS, protocol=ICMP),
    SecurityRule(direction=RuleDirection.INGRESS, protocol=ICMPV6),
)


def addresses(*texts: str) -> tuple[IpAddress, ...]:
    return tuple(map(ipaddress.ip_address, texts))


def inside(namespace: Namespace) -> set[str]:
    """Return the addresses of the namespace's interface, link-local ones apart."""
    (link,) = json.loads(namespace.run("ip", "-j", "address", "show", "dev", "eth0"))
    return {each["local"] for each in link["addr_info"] if each["scope"] == "global"}


@pytest.mark.parametrize("level", some(LEVELS, Level.READBACK))
async def test_the_evidence_is_of_the_new_flows(lab: Lab, level: Level) -> None:
    await lab.apply_group("g1", *PING)
    (before,) = await lab.plug(lab.spec("p1"))
    after = await lab.update("p1", level=level, security_groups=(G1,))
    old, new = before.binding.confirmation, after.binding.confirmation
    assert old is not None and new is not None
    assert (new.level, new.ifindex, new.ofport) == (level, old.ifindex, old.ofport)
    assert new.flow_count > old.flow_count and new.flow_digest != old.flow_digest
    assert after.binding.spec == replace(before.binding.spec, security_groups=(G1,))
    assert (after.binding.state, after.binding.revision) == (PortState.ACTIVE, before.binding.revision + 1)
    shown = {"intent", "device", "attachment", "flows"}
    assert shown <= {each.stage for each in new.stages}
    verified = await lab.engine.verify(PortId("p1"), HOST, Level.READBACK, deadline=in_s(5))
    assert verified.binding.confirmation is not None
    assert verified.binding.confirmation.flow_digest == new.flow_digest
    await lab.see(after)


async def test_a_port_is_closed_by_a_group_and_opened_again(lab: Lab) -> None:
    await lab.apply_group("g1")
    with Namespace() as one, Namespace() as two:
        await lab.plug(lab.inside("p1", one, 5))
        await lab.plug(lab.inside("p2", two, 6))
        assert two.pings("10.1.0.5") and two.pings("fd00:1::5")
        await lab.update("p1", security_groups=(G1,))
        assert not two.pings("10.1.0.5", wait_s=0.3) and not two.pings("fd00:1::5", wait_s=0.3)
        assert one.pings("10.1.0.6") and one.pings("fd00:1::6")
        await lab.update("p1", security_groups=())
        assert two.pings("10.1.0.5") and two.pings("fd00:1::5")


async def test_fixed_addresses_change_inside_of_the_namespace_and_nothing_else_does(
    lab: Lab, namespace: Namespace
) -> None:
    (before,) = await lab.plug(lab.inside("p1", namespace, 5))
    namespace.run("ip", "address", "add", "10.1.0.200/16", "dev", "eth0")
    (link,) = json.loads(namespace.run("ip", "-j", "link", "show", "dev", "eth0"))
    with Namespace() as other:
        await lab.plug(lab.inside("p2", other, 6))
        after = await lab.update("p1", fixed_ips=addresses("10.1.0.7", "fd00:1::5", "10.1.0.8"))
        assert inside(namespace) == {"10.1.0.7", "10.1.0.8", "fd00:1::5", "10.1.0.200"}
        assert other.pings("10.1.0.7") and other.pings("10.1.0.8") and other.pings("fd00:1::5")
    assert json.loads(namespace.run("ip", "-j", "link", "show", "dev", "eth0")) == [link]
    assert after.binding.confirmation is not None and before.binding.confirmation is not None
    assert after.binding.confirmation.ifindex == before.binding.confirmation.ifindex
    assert after.binding.former_ips == ()


async def test_an_address_is_another_s_as_soon_as_the_update_is_over(lab: Lab) -> None:
    await lab.plug(lab.spec("p1", fixed_ips=addresses("10.1.0.5")))
    await lab.plug(lab.spec("p2", fixed_ips=addresses("10.1.0.6")))
    with pytest.raises(Refused) as caught:
        await lab.update("p2", fixed_ips=addresses("10.1.0.5"))
    assert caught.value.reason == "ADDRESS_IN_USE"
    moving = asyncio.create_task(lab.update("p1", fixed_ips=addresses("10.1.0.7")))
    await reached(lab, Stage.INTENT)
    for wanted in ("10.1.0.5", "10.1.0.7"):
        with pytest.raises(Refused):
            await lab.update("p2", fixed_ips=addresses(wanted))
        with pytest.raises(AlreadyExists):
            await lab.plug(lab.spec("p3", fixed_ips=addresses(wanted)))
    await moving
    await lab.update("p2", fixed_ips=addresses("10.1.0.5"))
    with pytest.raises(Refused):
        await lab.update("p2", fixed_ips=addresses("10.1.0.7"))


async def test_what_may_not_be_is_refused_by_name_and_nothing_changes(lab: Lab) -> None:
    await lab.apply_group("g1")
    await lab.apply_group("g2", stateful=False)
    (port,) = await lab.plug(lab.spec("p1"))

    async def refused(kind: type[OfctlError], subject: str, reason: str, **changes: Any) -> None:
        with pytest.raises(kind) as caught:
            await lab.update("p1", **changes)
        assert (caught.value.subject, caught.value.reason) == (subject, reason)
        assert "outcome" not in caught.value.metadata

    await refused(InvalidField, "port.fixed_ips[0]", "INVALID_FIELD", fixed_ips=addresses("10.1.0.1"))
    await refused(InvalidField, "port.fixed_ips[0]", "INVALID_FIELD", fixed_ips=addresses("10.9.0.1"))
    await refused(
        Refused, "port.security_groups[1]", "SECURITY_GROUP_NOT_FOUND", security_groups=(G1, SecurityGroupId("none"))
    )
    await refused(Refused, "port.security_groups", "SECURITY_GROUPS_MIXED", security_groups=(G1, G2))
    await refused(InvalidField, "update_mask", "INVALID_FIELD")
    await refused(InvalidField, "port.annotations['x/y']", "INVALID_FIELD", annotations=(("x/y", "z"),))
    assert lab.port("p1") == port
    with pytest.raises(NotFound):
        await lab.update("p9", labels=())
    with pytest.raises(PermissionDenied):
        await lab.update("p1", principal="uid:1001", labels=(("a", "b"),))
    with pytest.raises(Aborted) as caught:
        await lab.update("p1", revision=port.binding.revision + 1, labels=(("a", "b"),))
    assert (caught.value.reason, caught.value.metadata["revision"]) == (
        "REVISION_MISMATCH",
        str(port.binding.revision),
    )


async def test_two_updates_follow_each_other_and_one_request_is_one_update(lab: Lab) -> None:
    (port,) = await lab.plug(lab.spec("p1"))
    answers = await asyncio.gather(
        lab.update("p1", labels=(("a", "1"),), request_id="x"),
        lab.update("p1", labels=(("a", "1"),), request_id="x"),
        lab.update("p1", project_id="blue"),
    )
    spec = lab.port("p1").binding.spec
    assert (spec.labels, spec.project_id) == ((("a", "1"),), "blue")
    assert answers[0] == answers[1]
    assert lab.port("p1").binding.revision == port.binding.revision + 2
    late = await lab.update("p1", labels=(("a", "1"),), request_id="x")
    assert late.binding.revision == port.binding.revision + 2
    assert lab.record("x").outcome is Outcome.CONFIRMED


async def test_of_two_updates_from_one_revision_one_is_told(lab: Lab) -> None:
    (port,) = await lab.plug(lab.spec("p1"))
    answers = await asyncio.gather(
        *(lab.update("p1", revision=port.binding.revision, labels=(("a", str(n)),)) for n in range(5)),
        return_exceptions=True,
    )
    assert [isinstance(answer, Aborted) for answer in answers].count(False) == 1
    assert lab.port("p1").binding.revision == port.binding.revision + 1


async def test_an_update_that_changes_nothing_has_fresh_evidence_and_the_same_revision(lab: Lab) -> None:
    (port,) = await lab.plug(lab.spec("p1", project_id="blue"))
    again = await lab.update("p1", project_id="blue", level=Level.READBACK)
    assert again.binding == port.binding
    assert again.binding.confirmation is not None
    assert again.binding.confirmation.level is Level.READBACK


async def test_request_ids_belong_to_one_request(lab: Lab) -> None:
    await lab.plug(lab.spec("p1"), request_id="plug")
    await lab.plug(lab.spec("p2"))
    await lab.update("p1", project_id="blue", request_id="update")
    with pytest.raises(InvalidField, match="request_id"):
        await lab.update("p1", project_id="green", request_id="plug")
    with pytest.raises(InvalidField, match="request_id"):
        await lab.update("p2", project_id="green", request_id="update")


async def test_an_update_waits_for_the_plug_in_flight(lab: Lab) -> None:
    plug = asyncio.create_task(lab.plug(lab.spec("p1")))
    await asyncio.sleep(0)
    updated = await lab.update("p1", project_id="blue")
    await plug
    assert updated.binding.spec.project_id == "blue"
    await lab.see(updated)


async def test_a_port_that_is_busy_for_too_long_is_said_so(lab: Lab) -> None:
    lab.ovs.freeze_vswitchd()
    plug = asyncio.create_task(lab.plug(lab.spec("p1")))
    await asyncio.sleep(0.1)
    with pytest.raises(Unavailable) as caught:
        await lab.update("p1", project_id="blue", timeout_s=0.5)
    assert caught.value.reason == "PORT_BUSY"
    lab.ovs.thaw_vswitchd()
    await lab.see(*await plug)


@pytest.mark.parametrize("stage", some([Stage.INTENT, Stage.DEVICE, Stage.FLOWS, Stage.DATAPATH], Stage.FLOWS))
async def test_an_unplug_overtakes_an_update(lab: Lab, namespace: Namespace, stage: Stage) -> None:
    await lab.apply_group("g1")
    await lab.plug(lab.inside("p1", namespace, 5))
    update = asyncio.create_task(lab.update("p1", security_groups=(G1,), request_id="u"))
    await reached(lab, stage)
    await lab.unplug("p1")
    with pytest.raises(Aborted) as caught:
        await update
    assert caught.value.metadata["outcome"] == "UNCHANGED"
    assert lab.record("u").outcome is Outcome.UNCHANGED
    assert lab.seen() == NOTHING
    with pytest.raises(NotFound):
        await lab.update("p1", security_groups=(G1,), request_id="u")


async def test_a_plug_of_a_port_that_is_updated_waits_and_judges_what_came_of_it(lab: Lab) -> None:
    await lab.plug(lab.spec("p1"))
    update = asyncio.create_task(lab.update("p1", project_id="blue"))
    await reached(lab, Stage.FLOWS)
    with pytest.raises(AlreadyExists):
        await lab.plug(lab.spec("p1"))
    (port,) = await lab.plug(lab.spec("p1", project_id="blue"))
    assert await update == port or port.binding.spec.project_id == "blue"


async def test_generations_fence_updates_too(lab: Lab) -> None:
    await lab.plug(lab.spec("p1"))
    await lab.update("p1", generation=5, project_id="blue")
    with pytest.raises(Refused) as caught:
        await lab.update("p1", generation=4, project_id="green")
    assert caught.value.reason == "STALE_GENERATION"
    await lab.stop()
    await lab.start()
    with pytest.raises(Refused):
        await lab.update("p1", generation=4, project_id="green")
    assert lab.port("p1").binding.spec.project_id == "blue"


async def test_what_is_updated_is_told_once_when_it_is_confirmed(lab: Lab) -> None:
    await lab.apply_group("g1", *PING)
    (port,) = await lab.plug(lab.spec("p1"))
    revision = lab.engine.book.log.revision
    update = asyncio.create_task(lab.update("p1", security_groups=(G1,)))
    await reached(lab, Stage.DATAPATH)
    assert lab.port("p1") == port
    await update
    assert lab.engine.book.log.revision == revision + 1
    assert lab.engine.book.counters["operations.confirmed"] >= 2


async def test_a_device_of_an_updated_port_is_mended(lab: Lab) -> None:
    await lab.apply_group("g1", *PING)
    (port,) = await lab.plug(lab.spec("p1"))
    port = await lab.update("p1", security_groups=(G1,))
    run(["ip", "link", "set", port.binding.device, "down"])
    await until(lambda: "UP" in json.loads(run(["ip", "-j", "link", "show", "dev", port.binding.device]))[0]["flags"])
    await until(lambda: lab.port("p1").binding.state is PortState.ACTIVE)
    await lab.update("p1", security_groups=())
    await lab.see(lab.port("p1"))


async def test_a_hundred_updates_at_once(lab: Lab) -> None:
    await lab.apply_group("g1", *PING)
    specs = [lab.spec(f"p{number}") for number in range(100)]
    ports = await asyncio.gather(*(lab.plug(spec, timeout_s=25) for spec in specs))
    updated = await asyncio.gather(
        *(lab.update(f"p{number}", security_groups=(G1,), level=Level.READBACK, timeout_s=25) for number in range(100))
    )
    assert all(each.binding.spec.security_groups == (G1,) for each in updated)
    assert len(ports) == 100
    report = await lab.engine.audit(repair=False, deadline=in_s(10))
    assert report.findings == ()
