"""Persistent TAPs on a real kernel, with ip(8) and ethtool(8) as the judges."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ofctl.errors import Refused
from ofctl.model.ids import DeviceName, HostId, MacAddress, PortId
from ofctl.netlink.devices import Devices, TapSpec
from tests.functional.netlink.conftest import ip, link, names, run, soon
from tests.functional.netlink.tap import Holder

TAP = DeviceName("tap-1")
PORT = PortId("port-1")
SPEC = TapSpec(device=TAP, port_id=PORT, mtu=1400, mac=MacAddress("fe:54:00:00:00:01"), checksum_offload_off=True)


async def test_a_tap_is_made_as_specified(devices: Devices) -> None:
    spec = replace(SPEC, owner_uid=54321, owner_gid=54322)
    ensured = await devices.ensure_tap(spec, deadline=soon())
    seen = link(TAP)
    assert ensured.created
    assert (seen["mtu"], seen["address"], seen["ifalias"]) == (1400, "fe:54:00:00:00:01", "ofctl:host-1:port-1")
    assert "UP" in seen["flags"]
    assert seen["linkinfo"]["info_kind"] == "tun"
    details = seen["linkinfo"]["info_data"]
    assert (details["type"], details["persist"]) == ("tap", True)
    assert (str(details["user"]), str(details["group"])) == ("54321", "54322")
    assert not details["multi_queue"]
    assert "tx-checksumming: off" in run("ethtool", "-k", TAP)
    state = ensured.state
    assert (state.ifindex, state.mtu, state.mac, state.up, state.carrier) == (
        seen["ifindex"],
        1400,
        seen["address"],
        True,
        False,
    )
    assert (state.owner_uid, state.owner_gid, state.kind, state.port_id) == (54321, 54322, "tap", PORT)


async def test_the_host_says_nothing_on_the_guest_s_wire(devices: Devices) -> None:
    await devices.ensure_tap(SPEC, deadline=soon())
    with Holder(TAP):
        assert link(TAP)["inet6_addr_gen_mode"] == "none"
        (seen,) = ip("addr", "show", "dev", TAP)
        assert seen["addr_info"] == []


async def test_a_tap_of_a_small_mtu(devices: Devices) -> None:
    """Below 1280 bytes the kernel takes IPv6 off the device, and there is nothing to keep silent."""
    small = replace(SPEC, mtu=576)
    assert (await devices.ensure_tap(small, deadline=soon())).created
    assert not (await devices.ensure_tap(small, deadline=soon())).created
    assert link(TAP)["mtu"] == 576


@pytest.mark.parametrize("multi_queue", [False, True])
async def test_a_monitor_can_open_it(devices: Devices, multi_queue: bool) -> None:
    await devices.ensure_tap(replace(SPEC, multi_queue=multi_queue), deadline=soon())
    with Holder(TAP, multi_queue=multi_queue):
        assert link(TAP)["operstate"] == "UP"


async def test_ensuring_again_changes_nothing(devices: Devices) -> None:
    first = await devices.ensure_tap(SPEC, deadline=soon())
    again = await devices.ensure_tap(SPEC, deadline=soon())
    assert not again.created and again.state == first.state


async def test_drift_is_repaired_even_while_held(devices: Devices) -> None:
    first = await devices.ensure_tap(SPEC, deadline=soon())
    with Holder(TAP):
        run("ip", "link", "set", TAP, "down", "mtu", "1300", "address", "fe:00:00:00:00:99")
        again = await devices.ensure_tap(SPEC, deadline=soon())
    seen = link(TAP)
    assert not again.created and seen["ifindex"] == first.state.ifindex
    assert (seen["mtu"], seen["address"], "UP" in seen["flags"]) == (1400, SPEC.mac, True)


async def test_a_foreign_device_is_refused_and_left(devices: Devices) -> None:
    run("ip", "tuntap", "add", TAP, "mode", "tap")
    run("ip", "link", "set", TAP, "alias", "uplink of rack 3")
    before = link(TAP)
    with pytest.raises(Refused, match=TAP) as caught:
        await devices.ensure_tap(SPEC, deadline=soon())
    assert caught.value.reason == "DEVICE_FOREIGN" and caught.value.subject == TAP
    await devices.remove(TAP, port_id=PORT, deadline=soon())
    await devices.remove(TAP, port_id=None, deadline=soon())
    assert link(TAP) == before


@pytest.mark.parametrize(("host", "port"), [("host-1", "port-2"), ("host-2", "port-1")])
async def test_the_device_of_another_port_is_refused_and_left(devices: Devices, host: str, port: str) -> None:
    async with Devices(HostId(host)) as others:
        await others.ensure_tap(replace(SPEC, port_id=PortId(port)), deadline=soon())
    before = link(TAP)
    with pytest.raises(Refused, match=f"ofctl:{host}:{port}") as caught:
        await devices.ensure_tap(SPEC, deadline=soon())
    assert caught.value.reason == "DEVICE_IN_USE"
    await devices.remove(TAP, port_id=PORT, deadline=soon())
    assert link(TAP) == before


@pytest.mark.parametrize("mtu", ["1500", "1400"])
async def test_one_that_was_made_again_by_hand_is_taken_over(devices: Devices, mtu: str) -> None:
    """Up and with a link-local address, as the host's IPv6 stack gives it to a device that is opened."""
    run("ip", "tuntap", "add", TAP, "mode", "tap")
    run("ip", "link", "set", TAP, "alias", "by hand", "mtu", mtu, "address", str(SPEC.mac), "up")
    with Holder(TAP):
        run("ip", "-6", "addr", "add", "fe80::1/64", "dev", TAP, "scope", "link", "nodad")
        ensured = await devices.ensure_tap(replace(SPEC, take_over=True), deadline=soon())
        seen = link(TAP)
        assert (ensured.created, ensured.taken_over, ensured.fresh) == (False, True, True)
        assert seen["ifindex"] == ensured.state.ifindex
        assert (seen["mtu"], seen["address"], seen["ifalias"]) == (1400, SPEC.mac, "ofctl:host-1:port-1")
        assert "UP" in seen["flags"] and ensured.state.up and ensured.state.mark is not None
        assert ip("addr", "show", "dev", TAP)[0]["addr_info"] == []
    again = await devices.ensure_tap(replace(SPEC, take_over=True), deadline=soon())
    assert not again.fresh


async def test_one_made_by_hand_in_another_mode_is_made_anew(devices: Devices) -> None:
    run("ip", "tuntap", "add", TAP, "mode", "tap", "multi_queue")
    with Holder(TAP, multi_queue=True), pytest.raises(Refused) as caught:
        await devices.ensure_tap(replace(SPEC, take_over=True), deadline=soon())
    assert caught.value.reason == "DEVICE_HELD"
    ensured = await devices.ensure_tap(replace(SPEC, take_over=True), deadline=soon())
    assert ensured.created and not link(TAP)["linkinfo"]["info_data"]["multi_queue"]


@pytest.mark.parametrize("kind", ["tun", "bridge"])
async def test_what_is_no_tap_is_not_taken_over(devices: Devices, kind: str) -> None:
    make = ["tuntap", "add", TAP, "mode", "tun"] if kind == "tun" else ["link", "add", TAP, "type", "bridge"]
    run("ip", *make)
    before = link(TAP)
    with pytest.raises(Refused) as caught:
        await devices.ensure_tap(replace(SPEC, take_over=True), deadline=soon())
    assert caught.value.reason == "DEVICE_FOREIGN" and link(TAP) == before


async def test_another_port_s_is_not_taken_over(devices: Devices) -> None:
    await devices.ensure_tap(replace(SPEC, port_id=PortId("port-2")), deadline=soon())
    before = link(TAP)
    with pytest.raises(Refused) as caught:
        await devices.ensure_tap(replace(SPEC, take_over=True), deadline=soon())
    assert caught.value.reason == "DEVICE_IN_USE" and link(TAP) == before


@pytest.mark.parametrize("change", [{"multi_queue": True}, {"owner_uid": 7}, {"owner_gid": 7}])
async def test_what_cannot_be_changed_is_made_anew(devices: Devices, change: dict[str, int]) -> None:
    first = await devices.ensure_tap(SPEC, deadline=soon())
    changed = TapSpec(**{**{name: getattr(SPEC, name) for name in SPEC.__slots__}, **change})
    again = await devices.ensure_tap(changed, deadline=soon())
    assert again.created and again.state.ifindex != first.state.ifindex
    assert link(TAP)["linkinfo"]["info_data"]["multi_queue"] is bool(change.get("multi_queue"))


async def test_a_held_tap_is_not_made_anew(devices: Devices) -> None:
    await devices.ensure_tap(SPEC, deadline=soon())
    with Holder(TAP):
        before = link(TAP)
        with pytest.raises(Refused, match="held") as caught:
            await devices.ensure_tap(replace(SPEC, multi_queue=True), deadline=soon())
        assert caught.value.reason == "DEVICE_HELD"
        assert link(TAP) == before


async def test_our_device_of_another_kind_is_made_anew(devices: Devices) -> None:
    run("ip", "link", "add", TAP, "type", "veth", "peer", "name", "other")
    run("ip", "link", "set", TAP, "alias", "ofctl:host-1:port-1")
    assert (await devices.ensure_tap(SPEC, deadline=soon())).created
    assert link(TAP)["linkinfo"]["info_kind"] == "tun"


@pytest.mark.parametrize("multi_queue", [False, True])
async def test_who_holds_it_is_seen(devices: Devices, multi_queue: bool) -> None:
    await devices.ensure_tap(replace(SPEC, multi_queue=multi_queue), deadline=soon())
    assert not await devices.is_held(TAP, deadline=soon())
    with Holder(TAP, multi_queue=multi_queue) as first:
        assert await devices.is_held(TAP, deadline=soon())
        run("ip", "link", "set", TAP, "down")
        assert await devices.is_held(TAP, deadline=soon())
        if multi_queue:
            with Holder(TAP, multi_queue=True):
                assert (state := await devices.state(TAP, deadline=soon())) and state.queues == 2
            first.disable_queue()
            assert await devices.is_held(TAP, deadline=soon())
    assert not await devices.is_held(TAP, deadline=soon())


async def test_nobody_holds_what_is_no_tap(devices: Devices) -> None:
    assert not await devices.is_held(DeviceName("lo"), deadline=soon())
    assert not await devices.is_held(DeviceName("nothing"), deadline=soon())
    assert await devices.state(DeviceName("nothing"), deadline=soon()) is None


async def test_removal_is_verified_and_idempotent(devices: Devices) -> None:
    await devices.ensure_tap(SPEC, deadline=soon())
    with Holder(TAP):
        await devices.remove(TAP, port_id=PORT, deadline=soon())
        assert TAP not in names()
    await devices.remove(TAP, port_id=PORT, deadline=soon())
    assert await devices.state(TAP, deadline=soon()) is None


async def test_a_leftover_of_unknown_port_is_removed(devices: Devices) -> None:
    await devices.ensure_tap(replace(SPEC, port_id=PortId("p" * 200)), deadline=soon())
    (state,) = await devices.owned(deadline=soon())
    assert state.port_id is None
    await devices.remove(TAP, port_id=None, deadline=soon())
    assert TAP not in names()


async def test_owned_lists_what_bears_the_mark_of_this_host(devices: Devices) -> None:
    run("ip", "tuntap", "add", "foreign", "mode", "tap")
    async with Devices(HostId("host-2")) as others:
        await others.ensure_tap(replace(SPEC, device=DeviceName("other")), deadline=soon())
    for number in range(3):
        spec = replace(SPEC, device=DeviceName(f"tap-{number}"), port_id=PortId(f"port-{number}"))
        await devices.ensure_tap(spec, deadline=soon())
    owned = await devices.owned(deadline=soon())
    assert [(state.device, state.port_id) for state in owned] == [(f"tap-{n}", f"port-{n}") for n in range(3)]
