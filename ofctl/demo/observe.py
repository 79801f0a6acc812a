"""What is there, told by the host's own tools and not by ofctl: ip, ovs-vsctl, ovs-ofctl, ovsdb-client."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from ofctl.demo.guests import command
from ofctl.sandbox.sandbox import Sandbox

RECORDS = frozenset({"Global", "Host", "Request"})
"""Tables that are no intents: the numbering, the host, and the outcomes of requests, kept so that one can ask."""
_AGE = re.compile(r"duration=([0-9.]+)s")


@dataclass(frozen=True)
class Traces:
    """Everything that a port can leave behind."""

    devices: frozenset[str]
    rows: frozenset[str]
    """Names in the tables Port and Interface."""
    flows: frozenset[str]
    groups: frozenset[str]
    meters: frozenset[str]
    intents: frozenset[str]
    """Table and UUID of each row."""


def traces(sandbox: Sandbox, bridge: str) -> Traces:
    """Look everywhere. Raises GuestFailed, ProcessFailed."""
    return Traces(
        devices=frozenset(link["ifname"] for link in json.loads(command("ip", "-json", "link", "show"))),
        rows=frozenset(name for table in ("Port", "Interface") for name in _names(sandbox, table)),
        flows=frozenset(_lines(sandbox.ovs.ovs_ofctl("dump-flows", bridge, "--no-stats"))),
        groups=frozenset(_lines(sandbox.ovs.ovs_ofctl("dump-groups", bridge))),
        meters=frozenset(_lines(sandbox.ovs.ovs_ofctl("dump-meters", bridge))),
        intents=frozenset(_intents(sandbox)),
    )


def flow_ages_s(sandbox: Sandbox, bridge: str) -> list[float]:
    """Return for each flow how long ago it was added; a flow that is modified keeps its age (OpenFlow 1.5, 7.3.5.2)."""
    dump = sandbox.ovs.ovs_ofctl("dump-flows", bridge)
    return [float(match) for line in _lines(dump) for match in _AGE.findall(line)]


def ofport(sandbox: Sandbox, device: str) -> str:
    """Return the OpenFlow port number of a device as Open vSwitch's database has it."""
    return sandbox.ovs.vsctl("get", "Interface", device, "ofport").strip()


def ifindex(device: str) -> int:
    """Return the kernel's index of a device."""
    return int(json.loads(command("ip", "-json", "link", "show", "dev", device))[0]["ifindex"])


def _names(sandbox: Sandbox, table: str) -> list[str]:
    listing = json.loads(sandbox.ovs.vsctl("--format=json", "--columns=name", "list", table))
    return [f"{table} {row[0]}" for row in listing["data"]]


def _intents(sandbox: Sandbox) -> list[str]:
    dump = command("ovsdb-client", "--format=json", "dump", sandbox.intents.connection)
    found = []
    for line in dump.splitlines():
        table = json.loads(line)
        name = table["caption"].removesuffix(" table")
        if name not in RECORDS:
            identity = table["headings"].index("_uuid")
            found += [f"{name} {row[identity][1]}" for row in table["data"]]
    return found


def _lines(dump: str) -> list[str]:
    """Return the entries of a dump of ovs-ofctl, without the header of the reply."""
    return [line.strip() for line in dump.splitlines() if line.strip() and " reply (OF" not in line]
