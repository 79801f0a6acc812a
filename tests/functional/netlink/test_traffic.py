"""A NIC through which the host itself talks is no uplink."""

from __future__ import annotations

import pytest

from ofctl.errors import NotFound
from ofctl.netlink.devices import Devices
from tests.functional.netlink.conftest import run, soon


@pytest.fixture
def nic(netns: None) -> str:
    run("ip", "link", "add", "nic0", "type", "veth", "peer", "name", "nic1")
    for device in ("nic0", "nic1"):
        run("ip", "link", "set", device, "addrgenmode", "none", "up")
    return "nic0"


async def test_a_free_nic(devices: Devices, nic: str) -> None:
    run("ip", "addr", "add", "fe80::1/64", "dev", nic, "nodad")
    run("ip", "addr", "add", "10.0.0.1/24", "dev", "nic1")
    assert await devices.carries_host_traffic(nic, deadline=soon()) is None


@pytest.mark.parametrize("address", ["10.0.0.1/24", "169.254.1.1/16", "fd00::1/64", "2001:db8::1/64"])
async def test_an_address_of_the_host(devices: Devices, nic: str, address: str) -> None:
    run("ip", "addr", "add", address, "dev", nic)
    reason = await devices.carries_host_traffic(nic, deadline=soon())
    assert reason == f"nic0 has the host's address {address.split('/', maxsplit=1)[0]}"


@pytest.mark.parametrize(
    "route",
    [
        "default dev nic0 scope link",
        "-6 default dev nic0",
        "default table 77 dev nic0",
        "default nexthop dev nic0 nexthop dev nic1",
        "default nexthop dev nic1 nexthop dev nic0",
    ],
)
async def test_the_default_route(devices: Devices, nic: str, route: str) -> None:
    words = route.split()
    options = [words.pop(0)] if words[0] == "-6" else []
    run("ip", *options, "route", "add", *words)
    assert await devices.carries_host_traffic(nic, deadline=soon()) == "nic0 carries the host's default route"


async def test_the_default_route_by_a_nexthop_object(devices: Devices, nic: str) -> None:
    run("ip", "nexthop", "add", "id", "7", "dev", nic)
    run("ip", "route", "add", "default", "nhid", "7")
    assert await devices.carries_host_traffic(nic, deadline=soon()) == "nic0 carries the host's default route"


async def test_other_routes_do_not_matter(devices: Devices, nic: str) -> None:
    run("ip", "route", "add", "10.0.0.0/8", "dev", nic)
    run("ip", "route", "add", "blackhole", "default")
    run("ip", "route", "add", "default", "dev", "nic1", "metric", "5")
    assert await devices.carries_host_traffic(nic, deadline=soon()) is None


async def test_a_bridge_with_the_host_s_address_on_it(devices: Devices, nic: str) -> None:
    run("ip", "link", "add", "br0", "type", "bridge")
    run("ip", "link", "set", nic, "master", "br0")
    assert await devices.carries_host_traffic(nic, deadline=soon()) is None
    run("ip", "addr", "add", "10.0.0.1/24", "dev", "br0")
    reason = await devices.carries_host_traffic(nic, deadline=soon())
    assert reason is not None and reason.startswith("br0, which stands on nic0, has the host's address")


async def test_a_device_stacked_on_it_with_the_host_s_address(devices: Devices, nic: str) -> None:
    run("ip", "link", "add", "link", nic, "name", "mac0", "type", "macvlan")
    assert await devices.carries_host_traffic(nic, deadline=soon()) is None
    run("ip", "addr", "add", "fd00::1/64", "dev", "mac0")
    reason = await devices.carries_host_traffic(nic, deadline=soon())
    assert reason is not None and "mac0" in reason


async def test_a_nic_that_is_not_there(devices: Devices, netns: None) -> None:
    with pytest.raises(NotFound, match="nic7"):
        await devices.carries_host_traffic("nic7", deadline=soon())
