"""A bridge with TAPs whose other side the test holds: what a port is sent and what comes out, frame by frame."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from ofctl.apps import CORE_APPS
from ofctl.model.ids import MacAddress, NetworkIndex, OfPort, PhysicalNetwork, PortId, PortIndex
from ofctl.pipeline.changes import (
    AddFlow,
    AddGroup,
    Change,
    DeleteFlow,
    DeleteFlowsByCookie,
    DeleteGroup,
    InsertBucket,
    ModifyGroup,
    RemoveBucket,
)
from ofctl.pipeline.compiler import Compiler
from ofctl.pipeline.diff import diff
from ofctl.pipeline.flow import FlowSet
from ofctl.pipeline.tables import COOKIE_MAGIC, COOKIE_MAGIC_SHIFT, TABLES
from ofctl.pipeline.world import Uplink, World, WorldPort
from ofctl.sandbox.ovs import PrivateOvs

BRIDGE = "br0"
TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x0002 | 0x1000
EXPERIMENTAL = 0x88B5
"""Local experimental ethertypes 1 and 2 (IEEE 802): the kernel sends none."""
FENCE = 0x88B6
DEADLINE_S = 10.0

_TABLE_NAME = re.compile(
    r"(table=|goto_table:|resubmit\(,)(" + "|".join(re.escape(table.name) for table in TABLES) + r")(?![\w-])"
)
_NUMBERS = {table.name: str(table.number) for table in TABLES}


def numbered(text: str) -> str:
    """Return flows in ovs-ofctl syntax with table numbers for names, and IPv4 addresses as it knows them."""
    return re.sub(r"\bipv4_(src|dst)\b", r"ip_\1", _TABLE_NAME.sub(lambda found: found[1] + _NUMBERS[found[2]], text))


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def frame(destination: str, source: str, text: str = "x", *, tag: int | None = None) -> bytes:
    """Return an Ethernet frame with the shortest payload there is, 46 octets, and an 802.1Q tag if asked."""
    header = octets(destination) + octets(source) + (b"" if tag is None else struct.pack("!HH", 0x8100, tag))
    return header + struct.pack("!H", EXPERIMENTAL) + text.encode().ljust(46, b"\0")


class Tap:
    """A port of the switch, seen from the guest."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP_NO_PI))
        subprocess.run(["ip", "link", "set", "dev", name, "up"], check=True)
        self.ofport = OfPort(0)

    def close(self) -> None:
        os.close(self.descriptor)


class Lab:
    """The switch, its world, and what is on it now."""

    def __init__(self, ovs: PrivateOvs) -> None:
        self.ovs = ovs
        self.world = World()
        self.compiler = Compiler(CORE_APPS)
        self.installed = FlowSet()
        self.taps: dict[str, Tap] = {}
        # Frames that the kernel sends on its own account would be taken for the switch's.
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        ovs.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev", "fail_mode=secure")
        ovs.vsctl("set", "bridge", BRIDGE, "protocols=OpenFlow15")
        ovs.ovs_ofctl("set-frags", BRIDGE, "nx-match")

    def close(self) -> None:
        for tap in self.taps.values():
            tap.close()

    def attach(self, *names: str) -> None:
        """Make TAPs and add them to the bridge, all in one transaction."""
        arguments = [word for name in names for word in ("--", "add-port", BRIDGE, name)]
        self.taps.update((name, Tap(name)) for name in names)
        self.ovs.vsctl(*arguments[1:])
        for name in names:
            self.taps[name].ofport = OfPort(int(self.ovs.vsctl("get", "interface", name, "ofport")))

    def port(self, name: str, index: int, network: int, mac: str, *, slot: int | None = None) -> WorldPort:
        """Return a port of the world for an attached TAP; its sender is not checked."""
        return WorldPort(
            port_id=PortId(name),
            index=PortIndex(index),
            slot=index if slot is None else slot,
            network=NetworkIndex(network),
            mac_address=MacAddress(mac),
            ofport=self.taps[name].ofport,
            port_security=False,
        )

    def uplink(self, name: str, physical_network: str) -> Uplink:
        """Return an uplink of the world for an attached TAP."""
        return Uplink(physical_network=PhysicalNetwork(physical_network), ofport=self.taps[name].ofport)

    def become(self, world: World) -> tuple[Change, ...]:
        """Take the switch to `world` by the incremental way, and let its caches follow; return the changes."""
        if self.installed == FlowSet():
            changes = diff(self.installed, self.compiler.compile_all(world))
        else:
            changes = self.compiler.changes(self.world, world)
        self.bundle(changes)
        self.world, self.installed = world, self.compiler.compile_all(world)
        self._add_fence()
        return changes

    def bundle(self, changes: Iterable[Change]) -> None:
        """Apply changes as one bundle (ovs-ofctl(8), bundle)."""
        with tempfile.NamedTemporaryFile("w") as file:
            file.writelines(f"{bundle_line(change)}\n" for change in changes)
            file.flush()
            self.ovs.ovs_ofctl("bundle", BRIDGE, file.name)
        self.ovs.appctl("revalidator/purge")

    def _add_fence(self) -> None:
        outputs = ",".join(f"output:{tap.ofport}" for tap in self.taps.values())
        flow = f"table=0,cookie={COOKIE_MAGIC << COOKIE_MAGIC_SHIFT:#x},priority=65535,dl_type={FENCE:#x}"
        self.ovs.ovs_ofctl("add-flow", BRIDGE, f"{flow},actions=in_port,{outputs}")
        self.ovs.appctl("revalidator/purge")

    def send(self, sender: str, *frames: bytes) -> dict[str, list[bytes]]:
        """Send frames into the switch through a port; return all that came out, by port that got anything.

        Two fences, sent from the same port and copied to all by a flow of their own, say when that is all: the
        switch takes a port's frames in order, though it may reorder those it takes at once, so the second fence is
        sent when the first is through.
        """
        descriptor = self.taps[sender].descriptor
        for each in frames:
            os.write(descriptor, each)
        received: dict[str, list[bytes]] = {}
        for fence in (b"first", b"second"):
            wanted = octets("ff:ff:ff:ff:ff:ff") + octets("02:00:00:00:00:00") + struct.pack("!H", FENCE) + fence
            os.write(descriptor, wanted.ljust(60, b"\0"))
            self._collect(wanted.ljust(60, b"\0"), received)
        return received

    def _collect(self, fence: bytes, received: dict[str, list[bytes]]) -> None:
        waiting = {tap.descriptor: tap.name for tap in self.taps.values()}
        deadline = time.monotonic() + DEADLINE_S
        while waiting:
            ready, _, _ = select.select(list(waiting), [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"no fence at {sorted(waiting.values())}")
            for descriptor in ready:
                got = os.read(descriptor, 65535)
                if got == fence:
                    del waiting[descriptor]
                else:
                    received.setdefault(self.taps[waiting[descriptor]].name, []).append(got)

    def learned(self) -> list[str]:
        """Return the flows of the dynamic table of the outside, without counters."""
        dump = self.ovs.ovs_ofctl("dump-flows", BRIDGE, "table=230", "--no-stats")
        return [line.strip() for line in dump.splitlines() if "table=230" in line or "reg" in line]


def bundle_line(change: Change) -> str:
    """Return a change in the syntax of `ovs-ofctl bundle`."""
    match change:
        case AddFlow(flow):
            line = f"flow add {flow}"
        case DeleteFlow(flow):
            identity = re.sub(r",cookie=0x[0-9a-f]+", "", str(flow).split(" actions=")[0])
            line = f"flow delete_strict {identity}"
        case DeleteFlowsByCookie(number, table):
            where = "" if table is None else f",table={table}"
            line = f"flow delete cookie={number:#x}/-1{where}"
        case AddGroup(group):
            line = f"group add {group}"
        case ModifyGroup(group):
            line = f"group modify {group}"
        case DeleteGroup(group_id):
            line = f"group delete group_id={group_id}"
        case InsertBucket(group_id, bucket):
            line = f"group insert_bucket group_id={group_id},command_bucket_id=last,{bucket}"
        case RemoveBucket(group_id, bucket_id):
            line = f"group remove_bucket group_id={group_id},command_bucket_id={bucket_id}"
    return numbered(line)
