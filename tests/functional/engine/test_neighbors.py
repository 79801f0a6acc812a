"""What a real kernel makes of the switch's answers: checksums, flags, duplicate address detection."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from typing import Any

from ofctl.model.ids import MacAddress
from tests.functional.engine.lab import Lab, Namespace

MAC = MacAddress("52:54:00:00:00:09")
ADDRESSES = ("10.1.0.9", "fd00:1::9")


async def silent(lab: Lab) -> None:
    """Plug a port whose guest is not there: what is heard of it, the switch has said."""
    await lab.plug(lab.spec("p9", mac_address=MAC, fixed_ips=tuple(map(ipaddress.ip_address, ADDRESSES))))


def neighbour(namespace: Namespace, address: str) -> dict[str, Any]:
    (known,) = json.loads(namespace.run("ip", "-j", "neigh", "show", "to", address)) or [{}]
    return dict(known)


async def test_a_kernel_takes_the_switch_s_answers(lab: Lab, namespace: Namespace) -> None:
    await silent(lab)
    await lab.plug(lab.inside("p1", namespace, 2))
    for address in ADDRESSES:
        namespace.run("bash", "-c", f"echo x > /dev/udp/{address}/9")
        deadline = time.monotonic() + 2
        while (known := neighbour(namespace, address)).get("state") != ["REACHABLE"]:
            assert time.monotonic() < deadline, f"{address}: {known}"
            await asyncio.sleep(0.01)
        assert known["lladdr"] == MAC, f"{address}: {known}"


async def test_a_kernel_that_takes_another_s_address_is_told(lab: Lab, namespace: Namespace) -> None:
    await silent(lab)
    await lab.plug(lab.inside("p1", namespace, 2, port_security=False))
    for address, duplicate in (("fd00:1::8", False), (ADDRESSES[1], True)):
        namespace.run("ip", "address", "add", f"{address}/64", "dev", "eth0")
        deadline = time.monotonic() + 5
        while (flags := seen(namespace, address)) and "tentative" in flags and "dadfailed" not in flags:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert ("dadfailed" in flags) is duplicate, address


def seen(namespace: Namespace, address: str) -> set[str]:
    """Return the flags of an address, as `ip` tells them."""
    listed = json.loads(namespace.run("ip", "-j", "address", "show", "dev", "eth0"))
    (found,) = [each for each in listed[0]["addr_info"] if each.get("local") == address]
    return {"present", *(name for name, value in found.items() if value is True)}
