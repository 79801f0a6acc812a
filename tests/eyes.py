"""Independent eyes: what exists, as `ip`, `ovs-vsctl`, `ovs-ofctl` and `ovsdb-client` tell it. No line of ours."""

from __future__ import annotations

import fcntl
import json
import re
import struct
from dataclasses import dataclass
from io import FileIO

from ofctl.sandbox.ovs import OvsdbServer, PrivateOvs, run

TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x1002


@dataclass(frozen=True)
class Seen:
    """What exists for ofctl, each as a set of names or numbers."""

    devices: frozenset[str]
    rows: frozenset[str]
    cookies: frozenset[int]
    """Port indexes that have flows."""
    buckets: frozenset[int]
    """Port indexes that have a bucket in some flood group."""
    intents: frozenset[tuple[str, str, int]]
    """Port id, device, port index."""

    @property
    def as_intended(self) -> bool:
        """The invariant: what exists is exactly what the intents say, nothing is missing and nothing left over."""
        devices = frozenset(device for _, device, _ in self.intents)
        indexes = frozenset(index for _, _, index in self.intents)
        return (self.devices, self.rows, self.cookies, self.buckets) == (devices, devices, indexes, indexes)

    @property
    def ports(self) -> frozenset[str]:
        """Ids of the ports that have an intent."""
        return frozenset(port_id for port_id, _, _ in self.intents)

    def only(self, *port_ids: str) -> bool:
        """Tell whether exactly these ports exist, wholly."""
        return self.as_intended and self.ports == frozenset(port_ids)


NOTHING = Seen(frozenset(), frozenset(), frozenset(), frozenset(), frozenset())


def look(ovs: PrivateOvs, intents: OvsdbServer, bridge: str) -> Seen:
    """Return what exists in this network namespace and on this bridge."""
    return Seen(
        devices=frozenset(_devices()),
        rows=frozenset(ovs.vsctl("list-ports", bridge).split()),
        cookies=frozenset(_cookies(ovs.ovs_ofctl("dump-flows", bridge))),
        buckets=frozenset(int(text) for text in re.findall(r"bucket_id:(\d+)", ovs.ovs_ofctl("dump-groups", bridge))),
        intents=frozenset(intended(ovs, intents)),
    )


def _devices() -> list[str]:
    links = json.loads(run(["ip", "-j", "link", "show"]))
    return [link["ifname"] for link in links if str(link.get("ifalias", "")).startswith("ofctl:")]


def _cookies(dump: str) -> set[int]:
    """Cookies are 0x0fc1, version, kind, index (docs/pipeline.md); kind 3 is a port's."""
    cookies = {int(text, 16) for text in re.findall(r"cookie=(0x[0-9a-f]+)", dump)}
    return {cookie & 0xFFFFFFFF for cookie in cookies if cookie >> 48 == 0x0FC1 and cookie >> 32 & 0xFF == 3}


def intended(ovs: PrivateOvs, intents: OvsdbServer) -> list[tuple[str, str, int]]:
    """Return port id, device and port index of every binding in the intents' database."""
    columns = ["port_id", "device", "port_index"]
    query = json.dumps(["ofctl", {"op": "select", "table": "Binding", "where": [], "columns": columns}])
    answer = json.loads(ovs.command("ovsdb-client", "transact", intents.connection, query))
    return [(row["port_id"], row["device"], row["port_index"]) for row in answer[0]["rows"]]


def open_tap(device: str) -> FileIO:
    """Hold a TAP open as a guest does, until the file is closed (linux/if_tun.h)."""
    tun = FileIO("/dev/net/tun", "r+b")
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP_NO_PI))
    return tun
