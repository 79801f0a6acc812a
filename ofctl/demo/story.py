"""The demo: plug, prove with packets, kill the agent under traffic, unplug, and show that nothing is left."""

from __future__ import annotations

import itertools
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from ofctl.client import (
    Client,
    FailedPrecondition,
    NamespaceConsumer,
    Network,
    Port,
    PortSpec,
    PortState,
    Subnet,
    VmConsumer,
)
from ofctl.client.errors import ApiError
from ofctl.demo import observe
from ofctl.demo.guard import Guard
from ofctl.demo.guests import Guest, GuestFailed
from ofctl.demo.report import Report, level_name, listed
from ofctl.demo.traffic import Streams, ping_each_other, send_each_other, transfer
from ofctl.sandbox.isolation import RUN, NotPossible, enter
from ofctl.sandbox.processes import ProcessFailed
from ofctl.sandbox.sandbox import Sandbox, StateDirectory, exit_on_signals

BRIDGE = "br-int"
NETWORK = "demo"
IPV4, IPV4_LENGTH = "192.0.2", 24
IPV6, IPV6_LENGTH = "2001:db8", 64
BULK_BYTES = 100_000_000
WITHOUT_AGENT_S = 1.0
BEFORE_AND_AFTER_S = 0.5
CANNOT = 3
"""Exit status: this machine does not let us make a sandbox."""


def run() -> int:
    """Run the demo; return 0 only if everything that it claims was observed.

    Outside of the namespaces this replaces the process (see `ofctl.sandbox.isolation.enter`).
    """
    try:
        enter(["-m", "ofctl.demo"], environment={"OFCTL_DEMO_USER": str(os.geteuid())})
    except NotPossible as problem:
        print(f"ofctl demo: {problem}", file=sys.stderr)
        return CANNOT
    exit_on_signals()
    began = time.monotonic()
    report = Report()
    with StateDirectory() as state:
        sandbox = Sandbox(RUN, state=state)
        with ExitStack() as cleanup:
            cleanup.callback(sandbox.stop)
            try:
                Story(report, sandbox, cleanup).tell()
            except (ApiError, GuestFailed, ProcessFailed) as problem:
                report.claim(False, "no step fails", f"{type(problem).__name__}: {problem}")
                if sandbox.agent_log.exists():
                    report.note("the end of the agent's log:")
                    for line in sandbox.agent_log.read_text(errors="replace").splitlines()[-15:]:
                        report.note(line)
    return report.verdict(time.monotonic() - began)


@dataclass
class Plugged:
    """A port and the guest behind it."""

    port: Port
    guest: Guest
    vm: bool


@dataclass
class Story:
    """The steps in their order; each tells the report what it observed."""

    report: Report
    sandbox: Sandbox
    cleanup: ExitStack
    plugged: list[Plugged] = field(default_factory=list)
    durations_s: list[float] = field(default_factory=list)

    def tell(self) -> None:
        """Run all steps. Raises ApiError, GuestFailed or ProcessFailed when one cannot go on."""
        self.start()
        self.empty = observe.traces(self.sandbox, BRIDGE)
        self.plug_all()
        self.show_reachability()
        self.show_bulk()
        self.show_guard()
        self.show_crash()
        self.show_refused_unplug()
        self.unplug_all()
        self.show_nothing_left()

    def start(self) -> None:
        """Start switch, database and agent."""
        user = os.environ.get("OFCTL_DEMO_USER", "0")
        self.report.chapter("A private Open vSwitch and an agent, in namespaces of their own")
        self.sandbox.start_switch()
        seconds = self.sandbox.start_agent()
        self.client = self.cleanup.enter_context(Client(self.sandbox.target))
        host = self.client.host()
        versions = ", ".join(f"{name} {version}" for name, version in sorted(host.versions.items()))
        self.report.claim(host.ready, "the agent owns the bridge and is ready", f"after {seconds * 1000:.0f} ms")
        self.report.note(f"{versions}; as user {user}" + ("" if user == "0" else ", without root"))

    def plug_all(self) -> None:
        """Apply the network, plug two ports of each kind, connect the VMs' guests."""
        self.report.chapter("PlugPort: two virtual machines and two namespaces")
        subnets = [
            Subnet(cidr=f"{IPV4}.0/{IPV4_LENGTH}", gateway=f"{IPV4}.1"),
            Subnet(cidr=f"{IPV6}::/{IPV6_LENGTH}", gateway=f"{IPV6}::1"),
        ]
        self.client.apply_network(Network(network_id=NETWORK, name="the demo's network", subnets=subnets))
        for number, (name, vm) in enumerate([("vm1", True), ("vm2", True), ("ns1", False), ("ns2", False)]):
            self.plug(name, number + 11, vm=vm)

    def plug(self, name: str, number: int, *, vm: bool) -> None:
        """Plug one port, compare its evidence with the host's own tools, and start its guest."""
        addresses = [f"{IPV4}.{number}", f"{IPV6}::{number}"]
        guest = self.cleanup.enter_context(Guest(name, addresses))
        spec = PortSpec(port_id=name, network_id=NETWORK, fixed_ips=addresses, device_id=f"guest-{name}")
        if vm:
            spec.vm.CopyFrom(VmConsumer())
        else:
            spec.namespace.CopyFrom(NamespaceConsumer(netns_path=str(guest.path)))
        began = time.monotonic()
        port = self.client.plug(spec)
        seconds = time.monotonic() - began
        self.durations_s.append(seconds)
        self.plugged.append(Plugged(port, guest, vm))
        self.report.port(port, seconds=seconds)
        vif, evidence = port.vif_details, port.confirmation
        seen = (observe.ofport(self.sandbox, vif.device_name), observe.ifindex(vif.device_name))
        self.report.claim(
            port.state == PortState.PORT_STATE_ACTIVE and seen == (str(evidence.ofport), evidence.ifindex),
            f"{name} is confirmed, and ovs-vsctl and ip agree with the evidence",
            f"{level_name(evidence.level)}, ofport {seen[0]}, ifindex {seen[1]}",
        )
        if vm:
            guest.connect_tap(
                vif.device_name,
                mac=vif.mac_address,
                mtu=vif.mtu,
                prefixes=[f"{addresses[0]}/{IPV4_LENGTH}", f"{addresses[1]}/{IPV6_LENGTH}"],
                checksum_offload=not vif.checksum_offload_must_be_off,
            )
        guest.open_sinks()

    def show_reachability(self) -> None:
        """ICMP and TCP between all guests, both ways, in both families."""
        self.report.chapter("ICMP and TCP between all of them, in both address families")
        for one, other in itertools.combinations(self.plugged, 2):
            ping_each_other(self.report, one.guest, other.guest)
            send_each_other(self.report, one.guest, other.guest)

    def show_bulk(self) -> None:
        """At least 100 MB of TCP each way over a VM's port, in both families."""
        self.report.chapter("Bulk TCP through a virtual machine's TAP")
        vm, namespace = self.guest("vm1"), self.guest("ns1")
        for sender, receiver, family in (
            (vm, namespace, 0),
            (namespace, vm, 0),
            (vm, namespace, 1),
            (namespace, vm, 1),
        ):
            transfer(self.report, sender, receiver, family=family, size=BULK_BYTES)

    def show_guard(self) -> None:
        """A guest that lies, and a rule that comes and goes under traffic."""
        self.report.chapter("Port security and security groups, changed under traffic")
        guard = Guard(self.report, self.client)
        by_name = {plugged.guest.name: plugged for plugged in self.plugged}
        liar, listener = by_name["ns2"], by_name["ns1"]
        guard.show_liar(liar.guest, listener.guest, liar.port)
        guard.show_rules(listener.guest, by_name["vm1"].guest, listener.port)

    def show_crash(self) -> None:
        """Kill the agent under traffic, start it again, plug one more port: not one packet is lost."""
        self.report.chapter("kill -9 of the agent while traffic flows, restart, one more port")
        streams = Streams(self.guest("vm1"), self.guest("vm2"), self.guest("ns1"), self.guest("ns2"))
        streams.start()
        time.sleep(BEFORE_AND_AFTER_S)
        before = observe.traces(self.sandbox, BRIDGE)
        assert self.sandbox.agent is not None
        old = self.sandbox.agent.pid
        arrived = streams.received()
        self.sandbox.kill_agent()
        killed = time.monotonic()
        time.sleep(WITHOUT_AGENT_S)
        alone = streams.received() - arrived
        self.report.claim(alone > 0, "the switch forwards without an agent", f"{alone} datagrams arrived meanwhile")
        seconds = self.sandbox.start_agent()
        after = observe.traces(self.sandbox, BRIDGE)
        ages = observe.flow_ages_s(self.sandbox, BRIDGE)
        since_s = time.monotonic() - killed
        self.report.claim(
            after.flows == before.flows and after.groups == before.groups,
            "the new agent finds its ports as they are and resyncs",
            f"process {old} -> {self.sandbox.agent.pid}, ready after {seconds * 1000:.0f} ms, "
            f"{len(after.flows)} flows and {len(after.groups)} groups are the same",
        )
        fresh = sum(age < since_s - 0.1 for age in ages)
        self.report.claim(fresh == 0, "no flow was written again", f"the youngest is {min(ages):.1f} s old")
        self.plug("ns3", 15, vm=False)
        for neighbour in self.plugged[:-1]:
            ping_each_other(self.report, self.guest("ns3"), neighbour.guest)
        time.sleep(BEFORE_AND_AFTER_S)
        streams.stop(self.report)
        # Bulk TCP would have filled the queues, and the streams would have lost what no agent can save.
        for neighbour in self.plugged[:-1]:
            send_each_other(self.report, self.guest("ns3"), neighbour.guest)

    def show_refused_unplug(self) -> None:
        """A TAP in use is not taken away."""
        self.report.chapter("UnplugPort, and nothing is left")
        try:
            self.client.unplug("vm1")
        except FailedPrecondition as refusal:
            self.report.claim(True, "a port whose TAP a guest holds open is not unplugged", refusal.message)
        else:
            self.report.claim(False, "a port whose TAP a guest holds open is not unplugged")

    def unplug_all(self) -> None:
        """Power the guests off, unplug their ports, delete the network."""
        for plugged in self.plugged:
            plugged.guest.disconnect_tap()
        began = time.monotonic()
        for plugged in self.plugged:
            self.client.unplug(plugged.port.spec.port_id)
        seconds = time.monotonic() - began
        self.client.delete_network(NETWORK)
        left = [port.spec.port_id for port in self.client.ports()]
        self.report.claim(
            not left,
            "all ports are unplugged",
            f"{seconds * 1000 / len(self.plugged):.1f} ms each, left: {listed(left)}",
        )

    def show_nothing_left(self) -> None:
        """Compare what the host's tools see with what they saw before the first network."""
        now, empty = observe.traces(self.sandbox, BRIDGE), self.empty
        for claim, found, before in (
            ("no device is left (ip link)", now.devices, empty.devices),
            ("no row is left (ovs-vsctl list Port, Interface)", now.rows, empty.rows),
            ("no flow is left (ovs-ofctl dump-flows)", now.flows, empty.flows),
            ("no group is left (ovs-ofctl dump-groups)", now.groups, empty.groups),
            ("no meter is left (ovs-ofctl dump-meters)", now.meters, empty.meters),
            ("no intent is left (ovsdb-client dump)", now.intents, empty.intents),
        ):
            more = found - before
            gone = before - found
            evidence = f"left: {listed(more)}" if more else f"{len(found)} there, the agent's own, as at the start"
            self.report.claim(not more and not gone, claim, evidence + (f"; missing: {listed(gone)}" if gone else ""))
        inside = {
            plugged.guest.name
            for plugged in self.plugged
            if not plugged.vm and "eth0" in plugged.guest.run("ip", "-brief", "link")
        }
        self.report.claim(not inside, "no device is left in the guests' namespaces", f"left in: {listed(inside)}")
        ordered = sorted(self.durations_s)
        self.report.note(
            f"PlugPort as the caller saw it: fastest {ordered[0] * 1000:.1f}, median "
            f"{ordered[len(ordered) // 2] * 1000:.1f}, slowest {ordered[-1] * 1000:.1f} ms"
        )

    def guest(self, name: str) -> Guest:
        """Return a guest by its name."""
        return next(plugged.guest for plugged in self.plugged if plugged.guest.name == name)
