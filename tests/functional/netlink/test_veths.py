"""veth pairs into a namespace on a real kernel, with ip(8) and ethtool(8) as the judges."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from ofctl.errors import DeviceError, InvalidField, Refused
from ofctl.model.ids import DeviceName, MacAddress, PortId
from ofctl.model.port import Route
from ofctl.netlink.devices import Devices, VethSpec
from tests.functional.netlink.conftest import Namespace, ip, link, names, run, soon

VETH = DeviceName("veth-1")
PORT = PortId("port-1")
PEER = DeviceName("eth0")
DEFAULT_4 = Route(destination=ip_network("0.0.0.0/0"), via=ip_address("10.0.0.1"))
DEFAULT_6 = Route(destination=ip_network("::/0"), via=ip_address("fd00::1"))
RTMGRP_LINK = 1


def spec_in(namespace: Namespace) -> VethSpec:
    return VethSpec(
        device=VETH,
        port_id=PORT,
        mtu=1400,
        netns_path=namespace.path,
        peer_name=PEER,
        peer_mac=MacAddress("02:00:00:00:00:05"),
        addresses=(ip_interface("10.0.0.5/24"), ip_interface("fd00::5/64")),
        routes=(DEFAULT_4, DEFAULT_6, Route(destination=ip_network("10.9.0.0/16"))),
        checksum_offload_off=True,
    )


def routes(namespace: Namespace) -> set[tuple[str, str | None]]:
    """Return (destination, gateway) of the routes through the peer that are not of the kernel's own making."""
    found = namespace.ip("route", "show", "dev", PEER) + namespace.ip("-6", "route", "show", "dev", PEER)
    return {(each["dst"], each.get("gateway")) for each in found if each["protocol"] == "static"}


def as_specified(namespace: Namespace) -> None:
    """Assert that both ends are as in `spec_in`."""
    host, peer = link(VETH), namespace.link(PEER)
    assert host["linkinfo"]["info_kind"] == "veth" == peer["linkinfo"]["info_kind"]
    assert (host["mtu"], host["ifalias"], host["operstate"]) == (1400, "ofctl:host-1:port-1", "UP")
    assert host["inet6_addr_gen_mode"] == "none"
    assert (peer["mtu"], peer["address"], peer["operstate"]) == (1400, "02:00:00:00:00:05", "UP")
    assert "UP" in namespace.link("lo")["flags"]
    assert {"10.0.0.5/24", "fd00::5/64"} <= namespace.addresses(PEER).keys()
    assert routes(namespace) == {("default", "10.0.0.1"), ("default", "fd00::1"), ("10.9.0.0/16", None)}
    assert "tx-checksumming: off" in namespace.run("ethtool", "-k", PEER)


@pytest.mark.parametrize("mtu", ["1500", "1400"])
async def test_a_pair_that_was_made_again_by_hand_is_taken_over(
    devices: Devices, namespace: Namespace, mtu: str
) -> None:
    run("ip", "link", "add", VETH, "type", "veth", "peer", "name", PEER, "netns", namespace.path)
    run("ip", "link", "set", VETH, "mtu", mtu, "up")
    namespace.run("ip", "link", "set", PEER, "up")
    run("ip", "-6", "addr", "add", "fe80::1/64", "dev", VETH, "scope", "link", "nodad")
    spec = replace(spec_in(namespace), take_over=True)
    before = link(VETH)
    with pytest.raises(Refused) as caught:
        await devices.ensure_veth(replace(spec, take_over=False), deadline=soon())
    assert caught.value.reason == "DEVICE_FOREIGN" and link(VETH) == before
    ensured = await devices.ensure_veth(spec, deadline=soon())
    assert (ensured.created, ensured.taken_over, ensured.state.ifindex) == (False, True, before["ifindex"])
    as_specified(namespace)
    assert ip("addr", "show", "dev", VETH)[0]["addr_info"] == []
    again = await devices.ensure_veth(spec, deadline=soon())
    assert not again.fresh


async def test_a_pair_made_by_hand_into_elsewhere_is_made_anew(
    devices: Devices, namespace: Namespace, other_namespace: Namespace
) -> None:
    run("ip", "link", "add", VETH, "type", "veth", "peer", "name", PEER, "netns", other_namespace.path)
    ensured = await devices.ensure_veth(replace(spec_in(namespace), take_over=True), deadline=soon())
    assert ensured.created
    as_specified(namespace)
    assert PEER not in {each["ifname"] for each in other_namespace.ip("link", "show")}


@pytest.mark.parametrize("port", ["", "port-2"])
async def test_what_is_no_pair_or_another_port_s_is_not_taken_over(
    devices: Devices, namespace: Namespace, port: str
) -> None:
    if port:
        await devices.ensure_veth(replace(spec_in(namespace), port_id=PortId(port)), deadline=soon())
    else:
        run("ip", "link", "add", VETH, "type", "bridge")
    before = link(VETH)
    with pytest.raises(Refused) as caught:
        await devices.ensure_veth(replace(spec_in(namespace), take_over=True), deadline=soon())
    assert caught.value.reason == ("DEVICE_IN_USE" if port else "DEVICE_FOREIGN")
    assert link(VETH) == before


async def test_a_pair_is_made_as_specified(devices: Devices, namespace: Namespace) -> None:
    ensured = await devices.ensure_veth(spec_in(namespace), deadline=soon())
    assert ensured.created
    as_specified(namespace)
    state = ensured.state
    assert (state.ifindex, state.kind, state.up, state.carrier) == (link(VETH)["ifindex"], "veth", True, True)
    assert await devices.owned(deadline=soon()) == (state,)


async def test_offload_stays_on_unless_asked(devices: Devices, namespace: Namespace) -> None:
    await devices.ensure_veth(replace(spec_in(namespace), checksum_offload_off=False), deadline=soon())
    assert "tx-checksumming: on" in namespace.run("ethtool", "-k", PEER)


async def test_the_ipv6_address_is_usable_at_once(devices: Devices, namespace: Namespace) -> None:
    await devices.ensure_veth(spec_in(namespace), deadline=soon())
    seen = namespace.addresses(PEER)["fd00::5/64"]
    assert "tentative" not in seen and seen["nodad"]


@pytest.mark.parametrize("again", [1, 2])
async def test_former_addresses_go_and_nothing_else(devices: Devices, namespace: Namespace, again: int) -> None:
    before = spec_in(namespace)
    kept = ip_interface("10.0.0.6/24")
    old = replace(before, addresses=(*before.addresses, kept))
    first = await devices.ensure_veth(old, deadline=soon())
    namespace.run("ip", "address", "add", "10.0.0.77/24", "dev", PEER)
    new = replace(
        before,
        addresses=(kept, ip_interface("fd00::6/64")),
        former_addresses=(*before.addresses, kept),
    )
    for _ in range(again):
        changed = await devices.ensure_veth(new, deadline=soon())
    assert changed.state.ifindex == first.state.ifindex and not changed.created
    there = {each for each in namespace.addresses(PEER) if not each.startswith("fe80")}
    assert there == {"10.0.0.6/24", "10.0.0.77/24", "fd00::6/64"}
    assert routes(namespace) >= {("default", "10.0.0.1"), ("10.9.0.0/16", None)}


async def test_the_peer_never_stands_in_our_namespace(devices: Devices, namespace: Namespace) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE) as monitor:
        monitor.bind((0, RTMGRP_LINK))
        await devices.ensure_veth(spec_in(namespace), deadline=soon())
        seen = b""
        while True:
            try:
                seen += monitor.recv(65536)
            except BlockingIOError:
                break
    assert VETH.encode() in seen
    assert PEER.encode() not in seen


async def test_ensuring_again_changes_nothing(devices: Devices, namespace: Namespace) -> None:
    first = await devices.ensure_veth(spec_in(namespace), deadline=soon())
    again = await devices.ensure_veth(spec_in(namespace), deadline=soon())
    assert not again.created and again.state == first.state
    as_specified(namespace)


async def test_drift_is_repaired_and_the_consumer_s_own_is_left(devices: Devices, namespace: Namespace) -> None:
    first = await devices.ensure_veth(spec_in(namespace), deadline=soon())
    run("ip", "link", "set", VETH, "down", "mtu", "1300")
    namespace.run("ip", "link", "set", PEER, "down", "mtu", "1300", "address", "02:00:00:00:00:99")
    namespace.run("ip", "addr", "flush", "dev", PEER)
    namespace.run("ip", "addr", "add", "10.7.0.1/24", "dev", PEER)
    namespace.run("ethtool", "-K", PEER, "tx", "on")
    again = await devices.ensure_veth(spec_in(namespace), deadline=soon())
    assert not again.created and again.state.ifindex == first.state.ifindex
    as_specified(namespace)
    assert "10.7.0.1/24" in namespace.addresses(PEER)


async def test_a_pair_into_another_namespace_is_made_anew(
    devices: Devices, namespace: Namespace, other_namespace: Namespace
) -> None:
    first = await devices.ensure_veth(spec_in(namespace), deadline=soon())
    again = await devices.ensure_veth(spec_in(other_namespace), deadline=soon())
    assert again.created and again.state.ifindex != first.state.ifindex
    as_specified(other_namespace)
    assert [each["ifname"] for each in namespace.ip("link", "show")] == ["lo"]


async def test_a_pair_whose_peer_was_renamed_is_made_anew(devices: Devices, namespace: Namespace) -> None:
    await devices.ensure_veth(spec_in(namespace), deadline=soon())
    namespace.run("ip", "link", "set", PEER, "down")
    namespace.run("ip", "link", "set", PEER, "name", "wan0")
    assert (await devices.ensure_veth(spec_in(namespace), deadline=soon())).created
    as_specified(namespace)


async def test_our_device_of_another_kind_is_made_anew(devices: Devices, namespace: Namespace) -> None:
    run("ip", "tuntap", "add", VETH, "mode", "tap")
    run("ip", "link", "set", VETH, "alias", "ofctl:host-1:port-1")
    assert (await devices.ensure_veth(spec_in(namespace), deadline=soon())).created
    as_specified(namespace)


async def test_a_name_that_is_taken_inside_is_refused(devices: Devices, namespace: Namespace) -> None:
    namespace.run("ip", "tuntap", "add", PEER, "mode", "tap")
    with pytest.raises(Refused, match=PEER) as caught:
        await devices.ensure_veth(spec_in(namespace), deadline=soon())
    assert caught.value.reason == "PEER_NAME_TAKEN"
    assert names() == {"lo"}
    assert namespace.link(PEER)["linkinfo"]["info_kind"] == "tun"


@pytest.mark.parametrize(
    ("alias", "reason"), [("uplink of rack 3", "DEVICE_FOREIGN"), ("ofctl:host-1:port-2", "DEVICE_IN_USE")]
)
async def test_the_device_of_somebody_else_is_refused(
    devices: Devices, namespace: Namespace, alias: str, reason: str
) -> None:
    run("ip", "tuntap", "add", VETH, "mode", "tap")
    run("ip", "link", "set", VETH, "alias", alias)
    before = link(VETH)
    with pytest.raises(Refused, match=VETH) as caught:
        await devices.ensure_veth(spec_in(namespace), deadline=soon())
    assert caught.value.reason == reason
    assert link(VETH) == before and [each["ifname"] for each in namespace.ip("link", "show")] == ["lo"]


async def test_the_consumer_s_own_route_is_not_replaced(devices: Devices, namespace: Namespace) -> None:
    namespace.run("ip", "tuntap", "add", "wan0", "mode", "tap")
    namespace.run("ip", "link", "set", "wan0", "up")
    namespace.run("ip", "route", "add", "default", "dev", "wan0")
    with pytest.raises(Refused, match=r"0\.0\.0\.0/0") as caught:
        await devices.ensure_veth(spec_in(namespace), deadline=soon())
    assert caught.value.reason == "ROUTE_CONFLICT"
    assert names() == {"lo"}
    assert [each["dev"] for each in namespace.ip("route", "show")] == ["wan0"]


async def test_a_gateway_that_cannot_be_reached(devices: Devices, namespace: Namespace) -> None:
    route = Route(destination=ip_network("0.0.0.0/0"), via=ip_address("192.0.2.1"))
    spec = replace(spec_in(namespace), routes=(route,))
    with pytest.raises(DeviceError, match="gateway is in no subnet") as caught:
        await devices.ensure_veth(spec, deadline=soon())
    assert caught.value.metadata["errno"] == "ENETUNREACH"
    assert names() == {"lo"}
    onlink = Route(destination=ip_network("192.0.2.1/32"))
    assert (await devices.ensure_veth(replace(spec, routes=(onlink, route)), deadline=soon())).created


async def test_ipv6_is_disabled_in_the_namespace(devices: Devices, namespace: Namespace) -> None:
    switch = "for each in all default; do echo 1 >/proc/sys/net/ipv6/conf/$each/disable_ipv6; done"
    namespace.run("unshare", "-m", "sh", "-c", f"mount -t proc proc /proc && {switch}")
    with pytest.raises(DeviceError, match="disable_ipv6") as caught:
        await devices.ensure_veth(spec_in(namespace), deadline=soon())
    assert caught.value.metadata["errno"] == "EACCES"
    assert names() == {"lo"}


async def test_a_path_that_is_no_network_namespace(devices: Devices, namespace: Namespace, rundir: Path) -> None:
    (rundir / "file").write_text("")
    os.mkfifo(rundir / "fifo")
    (rundir / "loop").symlink_to(rundir / "loop")
    for path in (
        *(rundir / name for name in ("nothing", "file", "fifo", "loop", "file/below")),
        rundir,
        "/dev/null",
        "/proc/self/ns/uts",
    ):
        spec = replace(spec_in(namespace), netns_path=str(path), netns_field="port.container.netns_path")
        with pytest.raises(InvalidField) as caught:
            await devices.ensure_veth(spec, deadline=soon())
        assert caught.value.field == "port.container.netns_path" and str(path) in caught.value.problem
    assert names() == {"lo"}


async def test_the_process_of_the_namespace_has_ended(devices: Devices, namespace: Namespace) -> None:
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    path = f"/proc/{ended.pid}/ns/net"
    with pytest.raises(InvalidField):
        await devices.ensure_veth(replace(spec_in(namespace), netns_path=path), deadline=soon())


async def test_our_own_namespace_is_refused(devices: Devices, namespace: Namespace) -> None:
    path = f"/proc/{os.getpid()}/task/{os.getpid()}/ns/net"
    with pytest.raises(Refused, match=path) as caught:
        await devices.ensure_veth(replace(spec_in(namespace), netns_path=path), deadline=soon())
    assert caught.value.reason == "NETNS_IS_HOST"


async def test_removal_takes_both_ends(devices: Devices, namespace: Namespace) -> None:
    await devices.ensure_veth(spec_in(namespace), deadline=soon())
    await devices.remove(VETH, port_id=PORT, deadline=soon())
    assert names() == {"lo"}
    assert [each["ifname"] for each in namespace.ip("link", "show")] == ["lo"]


async def test_the_namespace_goes_away(devices: Devices, netns: None) -> None:
    namespace = Namespace()
    spec = spec_in(namespace)
    await devices.ensure_veth(spec, deadline=soon())
    namespace.close()
    # The kernel cleans up in the background and tells when it has.
    await asyncio.to_thread(run, "timeout", "5", "sh", "-c", f"while ip link show {VETH} >&2; do :; done")
    await devices.remove(VETH, port_id=PORT, deadline=soon())


async def test_many_at_once(devices: Devices, namespace: Namespace) -> None:
    specs = [
        replace(
            spec_in(namespace),
            device=DeviceName(f"veth-{n}"),
            port_id=PortId(f"port-{n}"),
            peer_name=DeviceName(f"eth{n}"),
            addresses=(ip_interface(f"10.0.{n}.5/24"),),
            routes=(),
        )
        for n in range(20)
    ]
    ensured = await asyncio.gather(*(devices.ensure_veth(spec, deadline=soon()) for spec in specs))
    assert all(each.created for each in ensured)
    kept = specs.pop()
    await asyncio.gather(*(devices.remove(spec.device, port_id=spec.port_id, deadline=soon()) for spec in specs))
    assert [state.device for state in await devices.owned(deadline=soon())] == [kept.device]
    assert names() == {"lo", kept.device}


async def test_the_devices_stay_in_the_namespace_of_the_first_call(devices: Devices, namespace: Namespace) -> None:
    """The thread that calls may move afterwards; the devices do not."""
    await devices.state(VETH, deadline=soon())
    home = Namespace.here()
    namespace.enter()
    try:
        with pytest.raises(Refused, match="own"):
            await devices.ensure_veth(replace(spec_in(namespace), netns_path=home.path), deadline=soon())
    finally:
        home.enter()
        home.close()
    assert (await devices.ensure_veth(spec_in(namespace), deadline=soon())).created
    assert VETH in {each["ifname"] for each in ip("link", "show")}
