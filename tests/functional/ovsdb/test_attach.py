"""Ports of a real switch: what is stamped, what is refused, what fails, and how many transactions it takes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ofctl.errors import AttachError, DriverError, InvalidField, NotFound, OfctlError, Refused
from ofctl.model.ids import DeviceName, PortId
from ofctl.ovsdb.connection import OvsdbConnection
from ofctl.ovsdb.notation import insert, named
from ofctl.ovsdb.operation import Operation
from ofctl.ovsdb.replica import Json
from ofctl.ovsdb.switch import SwitchDatabase
from ofctl.ovsdb.switch_view import SwitchView
from ofctl.ovsdb.values import Attached, InterfaceChanged
from ofctl.sandbox.ovs import PrivateOvs
from tests.functional.ovsdb.conftest import BRIDGE, HOST, attachment, soon, tap


async def test_attach_stamps_the_row_and_returns_what_vswitchd_said(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    events: list[object] = []
    switch.subscribe(events.append)
    tap("tap0")
    result = await switch.attach(attachment("tap0", mtu=1400), deadline=soon())

    assert result.ofport == int(ovs.vsctl("get", "Interface", "tap0", "ofport"))
    assert result.ifindex == int(ovs.vsctl("get", "Interface", "tap0", "ifindex"))
    assert result.mac_in_use == ovs.vsctl("get", "Interface", "tap0", "mac_in_use").strip().strip('"')
    assert result.next_cfg <= int(ovs.vsctl("get", "Open_vSwitch", ".", "cur_cfg"))
    for key, value in {
        "iface-id": "port-tap0",
        "attached-mac": "52:54:00:00:00:01",
        "vm-uuid": "instance-1",
        "iface-status": "active",
        "ofctl-owner": HOST,
    }.items():
        assert ovs.vsctl("get", "Interface", "tap0", f"external_ids:{key}").strip().strip('"') == value
    assert ovs.vsctl("get", "Interface", "tap0", "type").strip() == '""'
    assert ovs.vsctl("get", "Interface", "tap0", "mtu").strip() == "1400"
    state = switch.interface(DeviceName("tap0"))
    assert state is not None
    assert (state.ofport, state.bridge, state.ours, state.port_id) == (result.ofport, BRIDGE, True, "port-tap0")
    await asyncio.sleep(0)
    assert InterfaceChanged(DeviceName("tap0"), state) in events


async def test_attach_is_idempotent_and_mends_the_row(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap0")
    first = await switch.attach(attachment("tap0"), deadline=soon())
    row = ovs.vsctl("get", "Interface", "tap0", "_uuid")
    ovs.vsctl("set", "Interface", "tap0", "external_ids:iface-id=wrong", "external_ids:foreign=kept")
    second = await switch.attach(attachment("tap0"), deadline=soon())
    assert (second.ofport, second.ifindex) == (first.ofport, first.ifindex)
    assert second.next_cfg > first.next_cfg
    assert ovs.vsctl("get", "Interface", "tap0", "_uuid") == row
    assert ovs.vsctl("get", "Interface", "tap0", "external_ids:iface-id").strip() == "port-tap0"
    assert ovs.vsctl("get", "Interface", "tap0", "external_ids:foreign").strip() == "kept"


async def test_a_fresh_device_gets_a_fresh_row(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap0")
    await switch.attach(attachment("tap0"), deadline=soon())
    row = ovs.vsctl("get", "Interface", "tap0", "_uuid")
    sent = switch.waves_sent
    await switch.attach(attachment("tap0"), deadline=soon(), fresh=True)
    assert switch.waves_sent == sent + 2
    assert ovs.vsctl("get", "Interface", "tap0", "_uuid") != row


async def test_detach_removes_the_rows_and_is_idempotent(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap0")
    await switch.attach(attachment("tap0"), deadline=soon())
    await switch.detach(DeviceName("tap0"), deadline=soon())
    assert switch.interface(DeviceName("tap0")) is None
    assert ovs.vsctl("list-ports", BRIDGE).split() == []
    assert ovs.vsctl("--bare", "--columns=name", "list", "Interface").split() == [BRIDGE]
    assert "tap0" not in ovs.appctl("dpif/show")
    await switch.detach(DeviceName("tap0"), deadline=soon())


async def test_a_foreign_row_is_refused_and_left_alone(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap0")
    ovs.vsctl("add-port", BRIDGE, "tap0")
    before = ovs.vsctl("list", "Port", "tap0")
    with pytest.raises(Refused) as refusal:
        await switch.attach(attachment("tap0"), deadline=soon())
    assert refusal.value.reason == "DEVICE_FOREIGN"
    with pytest.raises(Refused):
        await switch.detach(DeviceName("tap0"), deadline=soon())
    with pytest.raises(Refused):
        await switch.attach(attachment("tap0"), deadline=soon(), fresh=True)
    assert ovs.vsctl("list", "Port", "tap0") == before
    assert switch.foreign_ports(BRIDGE) == ("tap0",)


async def test_a_device_of_another_port_is_refused(switch: SwitchDatabase) -> None:
    tap("tap0")
    await switch.attach(attachment("tap0"), deadline=soon())
    with pytest.raises(Refused) as refusal:
        await switch.attach(replace(attachment("tap0"), port_id=PortId("other")), deadline=soon())
    assert refusal.value.reason == "DEVICE_IN_USE"


async def test_a_missing_device_fails_with_the_words_of_ovs(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    with pytest.raises(AttachError, match="No such device") as error:
        await switch.attach(attachment("tap-none"), deadline=soon())
    assert "No such device" in error.value.metadata["ovs_error"]
    state = switch.interface(DeviceName("tap-none"))
    assert state is not None
    assert state.ofport is None
    await switch.detach(DeviceName("tap-none"), deadline=soon())
    assert ovs.vsctl("list-ports", BRIDGE).split() == []


async def test_an_unknown_bridge_is_not_found(switch: SwitchDatabase) -> None:
    with pytest.raises(NotFound):
        await switch.attach(replace(attachment("tap0"), bridge="br-none"), deadline=soon())


async def test_many_at_once_take_few_transactions(switch: SwitchDatabase) -> None:
    devices = [tap(f"tap{number}") for number in range(60)]
    sent = switch.waves_sent
    results = await asyncio.gather(*(switch.attach(attachment(device), deadline=soon(20)) for device in devices))
    assert len({result.ofport for result in results}) == 60
    assert [result.device for result in results] == devices
    assert switch.waves_sent - sent <= 6


async def test_one_bad_operation_among_fifty_fails_alone(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    """The server names the operation: a value that the column refuses."""
    devices = [tap(f"tap{number}") for number in range(50)]
    sent = switch.waves_sent
    wanted = [attachment(device, mtu=0 if device == "tap17" else None) for device in devices]
    results = await asyncio.gather(*(switch.attach(one, deadline=soon(20)) for one in wanted), return_exceptions=True)
    assert [device for device, result in zip(devices, results, strict=True) if isinstance(result, Exception)] == [
        "tap17"
    ]
    assert isinstance(results[17], AttachError)
    assert "constraint violation" in results[17].metadata["ovsdb_error"]
    assert switch.waves_sent - sent <= 6  # by halves it would be ten and more
    assert len(ovs.vsctl("list-ports", BRIDGE).split()) == 49


async def test_calls_for_one_device_keep_their_order(ovs: PrivateOvs, switch: SwitchDatabase) -> None:
    tap("tap0")
    calls = [
        switch.attach(attachment("tap0"), deadline=soon()),
        switch.detach(DeviceName("tap0"), deadline=soon()),
        switch.attach(attachment("tap0"), deadline=soon()),
        switch.detach(DeviceName("tap0"), deadline=soon()),
    ]
    await asyncio.gather(*calls)
    assert ovs.vsctl("list-ports", BRIDGE).split() == []


async def test_a_null_character_does_not_cost_the_neighbours_their_connection(switch: SwitchDatabase) -> None:
    devices = [tap(f"tap{number}") for number in range(3)]
    wanted = [attachment(device) for device in devices]
    wanted[1] = replace(wanted[1], device_id="in\0stance")
    results = await asyncio.gather(*(switch.attach(one, deadline=soon()) for one in wanted), return_exceptions=True)
    assert isinstance(results[1], InvalidField)
    assert isinstance(results[0], Attached)
    assert isinstance(results[2], Attached)


class PortNamed(Operation[SwitchView, str]):
    """A port without a device. A name that is there fails at commit, and then the server names no operation."""

    def __init__(self, name: str, *, place: int) -> None:
        super().__init__(f"place:{place}")
        self.name = name
        self.place = place

    def build(self, view: SwitchView) -> list[Json]:
        interface, port = f"interface{self.place}", f"port{self.place}"
        return [
            insert("Interface", {"name": f"if-{self.place}"}, name=interface),
            insert("Port", {"name": self.name, "interfaces": named(interface)}, name=port),
            {
                "op": "mutate",
                "table": "Bridge",
                "where": [["name", "==", BRIDGE]],
                "mutations": [["ports", "insert", ["set", [named(port)]]]],
            },
        ]

    def result(self, view: SwitchView, marker: int) -> str:
        return self.name


async def test_a_failure_that_names_no_operation_is_found_by_halves(ovs: PrivateOvs) -> None:
    ovs.vsctl("add-br", BRIDGE)
    connection = OvsdbConnection(ovs.database.connection, SwitchView(HOST), on_event=lambda event: None)
    await connection.start(deadline=soon())
    try:
        operations = [PortNamed(BRIDGE if place == 33 else f"new-{place}", place=place) for place in range(50)]
        results = await asyncio.gather(
            *(connection.run(operation, deadline=soon(20)) for operation in operations), return_exceptions=True
        )
        assert [place for place, result in enumerate(results) if isinstance(result, OfctlError)] == [33]
        assert connection.waves_sent <= 2 + 2 * 6  # the first may go alone; then two for each halving
    finally:
        await connection.close()
    assert len(ovs.vsctl("list-ports", BRIDGE).split()) == 49


class Stumbles(PortNamed):
    """Has a mistake in its own code."""

    def build(self, view: SwitchView) -> list[Json]:
        raise KeyError(self.name)


async def test_a_mistake_in_one_operation_does_not_end_the_thread(ovs: PrivateOvs) -> None:
    ovs.vsctl("add-br", BRIDGE)
    connection = OvsdbConnection(ovs.database.connection, SwitchView(HOST), on_event=lambda event: None)
    await connection.start(deadline=soon())
    try:
        results = await asyncio.gather(
            connection.run(PortNamed("new-0", place=0), deadline=soon()),
            connection.run(Stumbles("new-1", place=1), deadline=soon()),
            connection.run(PortNamed("new-2", place=2), deadline=soon()),
            return_exceptions=True,
        )
        assert results[0] == "new-0"
        assert isinstance(results[1], DriverError)
        assert results[2] == "new-2"
        assert await connection.run(PortNamed("new-3", place=3), deadline=soon()) == "new-3"
    finally:
        await connection.close()
