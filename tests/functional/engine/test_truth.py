"""Evidence afresh, and the whole host against its intents."""

from __future__ import annotations

import asyncio

import pytest

from ofctl.errors import DriverError, NotFound, NotSupported, Unavailable
from ofctl.model.audit import FindingKind
from ofctl.model.confirmation import Level
from ofctl.model.ids import PortId
from ofctl.model.port import PortState
from ofctl.model.vif import PluggedPort
from ofctl.sandbox.ovs import run
from tests.functional.engine.lab import BRIDGE, HOST, Lab, Namespace, in_s
from tests.functional.engine.test_faults import until


async def verify(lab: Lab, name: str, level: Level = Level.READBACK) -> PluggedPort:
    return await lab.engine.verify(PortId(name), HOST, level, deadline=in_s(5))


@pytest.mark.parametrize("level", [Level.BARRIER, Level.DATAPATH, Level.READBACK])
async def test_a_port_is_verified_without_being_touched(lab: Lab, level: Level) -> None:
    (port,) = await lab.plug(lab.spec("p1"))
    rows = lab.ovs.vsctl("get", "Open_vSwitch", ".", "next_cfg")
    again = await verify(lab, "p1", level)
    assert again.binding.confirmation is not None and port.binding.confirmation is not None
    assert again.binding.confirmation.level is level
    assert again.binding.confirmation.flow_digest == port.binding.confirmation.flow_digest
    assert again.binding.confirmation.barrier_xid != port.binding.confirmation.barrier_xid
    assert lab.ovs.vsctl("get", "Open_vSwitch", ".", "next_cfg") == rows
    await lab.see(port)


async def test_what_is_not_so_is_not_verified(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody mends in this test: what is found is what VerifyPort has seen itself."""
    monkeypatch.setattr(lab.engine, "mend", lambda _: None)
    (port,) = await lab.plug(lab.spec("p1"))
    run(["ip", "link", "set", port.binding.device, "down"])
    with pytest.raises(DriverError) as caught:
        await verify(lab, "p1")
    assert caught.value.reason == "DEVICE_DOWN"
    run(["ip", "link", "set", port.binding.device, "up"])
    await verify(lab, "p1")
    run(["ip", "link", "delete", port.binding.device])
    with pytest.raises(DriverError) as caught:
        await verify(lab, "p1")
    assert caught.value.reason == "DEVICE_GONE"


async def test_verify_refuses_what_it_cannot_show(lab: Lab) -> None:
    with pytest.raises(NotFound):
        await verify(lab, "p1")
    await lab.plug(lab.spec("p1"))
    with pytest.raises(NotSupported):
        await verify(lab, "p1", Level.FABRIC)
    lab.ovs.kill_vswitchd()
    await until(lambda: not lab.engine.chassis.tables.resynced)
    with pytest.raises(Unavailable):
        await verify(lab, "p1")
    lab.ovs.start_vswitchd()


async def test_an_audit_of_a_host_that_is_right_finds_nothing(lab: Lab, namespace: Namespace) -> None:
    await lab.plug(lab.spec("p1"), lab.inside("p2", namespace, 5))
    report = await lab.engine.audit(repair=False, deadline=in_s(5))
    assert report.findings == ()
    assert (report.ports, report.devices) == (2, 2)
    assert report.flows > 6
    assert report.groups == 1


async def test_an_audit_finds_and_mends(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drift is looked away from, so that only the audit can find; then it may mend."""
    ports = [*await lab.plug(lab.spec("p1")), *await lab.plug(lab.spec("p2"))]
    first, second = (port.binding.device for port in ports)
    mend = lab.engine.mend
    monkeypatch.setattr(lab.engine, "mend", lambda _: None)
    run(["ip", "link", "set", first, "down"])
    lab.ovs.vsctl("del-port", BRIDGE, second)
    run(["ip", "tuntap", "add", "left0", "mode", "tap"])
    run(["ip", "link", "set", "left0", "alias", "ofctl:h1:nobody"])
    run(["ip", "tuntap", "add", "theirs0", "mode", "tap"])
    lab.ovs.vsctl("add-port", BRIDGE, "theirs0")
    await asyncio.sleep(0.2)
    report = await lab.engine.audit(repair=False, deadline=in_s(5))
    found = {(finding.kind, finding.subject): finding.port_id for finding in report.findings}
    assert found[FindingKind.DEVICE_DIFFERS, first] == "p1"
    assert found[FindingKind.ROW_MISSING, second] == "p2"
    assert (FindingKind.DEVICE_LEFT_OVER, "left0") in found
    assert (FindingKind.ROW_FOREIGN, "theirs0") in found
    assert not any(finding.repaired for finding in report.findings)
    monkeypatch.setattr(lab.engine, "mend", mend)
    report = await lab.engine.audit(repair=True, deadline=in_s(10))
    unrepaired = [finding.kind for finding in report.findings if not finding.repaired]
    assert unrepaired == [FindingKind.ROW_FOREIGN]
    lab.ovs.vsctl("del-port", BRIDGE, "theirs0")
    await lab.see(*ports)
    assert all(lab.port(name).binding.state is PortState.ACTIVE for name in ("p1", "p2"))
