"""A feature app for ofctl: what guests send to some TCP ports is dropped, and counted.

Which ports is said in the configuration (`[app:guard] tcp_ports`, 25 by default, so that no guest sends mail past the
relay), and for one port of a guest in its annotation `guard/tcp-ports`, which replaces it and may be empty.
"""

from __future__ import annotations

from collections.abc import Iterable

from oslo_config import cfg

from ofctl.plugin import (
    ETH_TYPE,
    IP_PROTO,
    SOURCE,
    TCP_DST,
    AnchoredTable,
    Annotation,
    Counter,
    FeatureApp,
    Flow,
    Match,
    Term,
    World,
    WorldPort,
    port_cookie,
)

IPV4, IPV6, TCP = 0x0800, 0x86DD, 6
BLOCKED = 100
MAX_PORTS = 16


class Guard(FeatureApp):
    """Two flows, one of IPv4 and one of IPv6, for each TCP port that a guest must not talk to."""

    name = "guard"
    api_version = 1
    options = (cfg.ListOpt("tcp_ports", default=["25"], help="TCP ports that guests must not talk to."),)
    anchored = (AnchoredTable(name="egress", purpose="What a guest must not send.", after="classify"),)
    annotations = (Annotation(name="tcp-ports", purpose="Instead of the host's tcp_ports, comma separated."),)
    counters = (Counter(name="blocked", table="egress", priority=BLOCKED, purpose="Frames dropped."),)

    def check_annotation(self, name: str, value: str) -> None:
        """Every annotation of this app is a list of TCP ports."""
        del name
        numbers(value.split(",") if value else [])

    def port_flows(self, port: WorldPort, world: World) -> Iterable[Flow]:
        """Drop; what is not named here goes on by itself."""
        del world
        own = port.annotations_of(self.name).get("tcp-ports")
        texts = self.option("tcp_ports") if own is None else own.split(",") if own else []
        for number in numbers(texts):
            for ethertype in (IPV4, IPV6):
                yield Flow(
                    self.table("egress"),
                    BLOCKED,
                    Match.of(
                        Term(SOURCE, port.index), Term(ETH_TYPE, ethertype), Term(IP_PROTO, TCP), Term(TCP_DST, number)
                    ),
                    port_cookie(port.index),
                )


def numbers(texts: Iterable[str]) -> list[int]:
    """Return TCP ports, each once. Raises ValueError."""
    found = sorted({int(text) if text.strip().isdecimal() else 0 for text in texts})
    if len(found) > MAX_PORTS or not all(0 < number < 65_536 for number in found):
        raise ValueError(f"must be at most {MAX_PORTS} TCP ports from 1 to 65535, comma separated")
    return found
