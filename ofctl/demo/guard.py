"""What keeps guests apart: a guest that lies about its address, and rules that change while packets flow."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ofctl.client import Client, Port, PortSpec, SecurityGroup, rule
from ofctl.demo.guests import Guest
from ofctl.demo.report import Report, level_name
from ofctl.demo.traffic import FAMILIES, POLL_S, RATE_PER_S, SETTLE_S

FORGED = ("192.0.2.99", "2001:db8::99")
LYING_S = 0.3
WATCHED_S = 0.3
UNDERWAY_S = 0.1
"""For what had left the switch when the call returned."""
GROUP = "demo-web"


@dataclass
class Guard:
    """Steps of the demo about port security and security groups."""

    report: Report
    client: Client

    def show_liar(self, liar: Guest, listener: Guest, port: Port) -> None:
        """Claim that what has a forged source reaches nobody while the check is on, and all of it while it is off."""
        for address, length in zip(FORGED, (32, 128), strict=True):
            nodad = ["nodad"] if length == 128 else []
            liar.run("ip", "address", "add", f"{address}/{length}", "dev", "eth0", *nodad)
        self._lie(liar, listener, arrives=False)
        self.client.update(PortSpec(port_id=port.spec.port_id, port_security=False), ["port_security"])
        self._lie(liar, listener, arrives=True)
        self.client.update(PortSpec(port_id=port.spec.port_id, port_security=True), ["port_security"])
        self._lie(liar, listener, arrives=False)
        for address, length in zip(FORGED, (32, 128), strict=True):
            liar.run("ip", "address", "del", f"{address}/{length}", "dev", "eth0")

    def _lie(self, liar: Guest, listener: Guest, *, arrives: bool) -> None:
        for family, forged in enumerate(FORGED):
            to = [listener.addresses[family], listener.ports["udp"]]
            before = listener.order(do="count", name="lie")["received"]
            liar.order(do="stream", to=to, name="lie", rate=RATE_PER_S, **{"from": forged})
            time.sleep(LYING_S)
            sent = liar.order(do="hush", name="lie")["sent"]
            honest = self._honest(liar, listener, to, liar.addresses[family])
            arrived = listener.order(do="count", name="lie")["received"] - before
            self.report.claim(
                honest and arrived == (sent if arrives else 0),
                f"{FAMILIES[family]} from a forged address "
                + ("arrives while port security is off" if arrives else "is dropped"),
                f"{sent} sent by {liar.name}, {arrived} arrived",
            )

    @staticmethod
    def _honest(sender: Guest, receiver: Guest, to: list[object], own: str) -> bool:
        """Tell whether what is sent now with the sender's own address arrives: all that was sent before is over."""
        before = receiver.order(do="count", name="honest")["received"]
        sender.order(do="stream", to=to, name="honest", rate=RATE_PER_S, **{"from": own})
        deadline = time.monotonic() + SETTLE_S
        arrived = False
        while not arrived and time.monotonic() < deadline:
            time.sleep(POLL_S)
            arrived = receiver.order(do="count", name="honest")["received"] > before
        sender.order(do="hush", name="honest")
        return arrived

    def show_rules(self, server: Guest, caller: Guest, port: Port) -> None:
        """Claim that a security group lets in what it says, from the call that says so to that which takes it back."""
        open_to_udp = SecurityGroup(security_group_id=GROUP, rules=[rule("in udp")])
        closed = SecurityGroup(security_group_id=GROUP)
        self.client.apply_security_group(open_to_udp)
        filtered = self.client.update(PortSpec(port_id=port.spec.port_id, security_groups=[GROUP]), ["security_groups"])
        evidence = filtered.confirmation
        self.report.claim(
            list(filtered.spec.security_groups) == [GROUP] and evidence.flow_count > 0,
            f"{server.name} gets a security group: in udp, and nothing else",
            f"{level_name(evidence.level)}, {evidence.flow_count} flows",
        )
        refused = not caller.ping(server.addresses[0], wait_s=1)
        self.report.claim(refused, f"{caller.name} -> {server.name}: ICMP is not answered any more")
        to = [server.addresses[0], server.ports["udp"]]
        caller.order(do="stream", to=to, name="rule", rate=RATE_PER_S)
        for group, flows in ((open_to_udp, True), (closed, False), (open_to_udp, True)):
            applied = self.client.apply_security_group(group)
            time.sleep(UNDERWAY_S)
            first = server.order(do="count", name="rule")["received"]
            time.sleep(WATCHED_S)
            more = server.order(do="count", name="rule")["received"] - first
            self.report.claim(
                (more > 0) is flows and len(applied.ports) == 1,
                "the rule is there: the stream flows" if flows else "the rule is gone: the same stream stands",
                f"{more} datagrams in {WATCHED_S:g} s, confirmed on {len(applied.ports)} port",
            )
        caller.order(do="hush", name="rule")
        self.client.update(PortSpec(port_id=port.spec.port_id), ["security_groups"])
        self.client.delete_security_group(GROUP)
        answered = caller.ping(server.addresses[0])
        self.report.claim(answered, f"{caller.name} -> {server.name}: without the group ICMP is answered again")
