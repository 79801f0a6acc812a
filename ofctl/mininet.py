"""Mininet topologies whose switch is the agent's bridge and whose hosts are plugged through `PlugPort`.

    from mininet.net import Mininet
    from mininet.topo import SingleSwitchTopo
    from ofctl.mininet import AgentHost, AgentLink, AgentSwitch, ping6_all

    net = Mininet(topo=SingleSwitchTopo(3), host=AgentHost, switch=AgentSwitch, link=AgentLink, controller=None)
    net.start()
    net.pingAll()
    print("lost in IPv6:", ping6_all(net.hosts))
    net.stop()

A Mininet switch is one network of the agent: two switches are two networks, which never see each other's packets. A
link between a host and a switch is a port: the agent makes the veth pair into the host's namespace, with its addresses
in both families, and the link is there when the datapath is confirmed. `net.stop()` unplugs the ports and deletes the
networks. The agent runs already (`ofctl sandbox`, `make run`), on this machine: it opens /proc/PID/ns/net.

Needs Mininet (PyPI: mininet, 2.3; from Python 3.12 on also setuptools, for its `distutils`), its program mnexec
(Debian: mininet), and root.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from ipaddress import ip_interface, ip_network
from typing import Any

from ofctl.client import Client, NamespaceConsumer, Network, Port, PortSpec, Subnet

with warnings.catch_warnings():
    # Mininet imports distutils, which says on import that it is deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from mininet.link import Intf, Link
    from mininet.node import Host, Node, Switch

__all__ = ["AgentHost", "AgentIntf", "AgentLink", "AgentSwitch", "TopologyError", "agent_switch", "ping6_all"]

DEFAULT_SUBNETS = ("10.0.0.0/8", "fd00::/64")
"""The first is Mininet's own `ipBase`; a host gets the same host number in the second."""


class TopologyError(Exception):
    """The topology asks for something that a network of the agent is not."""


class AgentSwitch(Switch):  # type: ignore[misc]
    """A network of the agent, named as the switch. Exists when constructed; deleted by `stop`.

    Every call to the agent may raise a class of `ofctl.client.errors`.
    """

    def __init__(
        self,
        name: str,
        *,
        target: str | None = None,
        subnets: Sequence[str] = DEFAULT_SUBNETS,
        network: Network | None = None,
        **params: Any,
    ) -> None:
        """`target` is the agent's gRPC target, as for `ofctl.client.Client`.

        `subnets` are those of a LOCAL network; `network`, if given, is applied instead, under its own id.
        """
        super().__init__(name, **params)
        self.client = Client(target)
        wanted = network or Network(network_id=name, name=name, subnets=[Subnet(cidr=cidr) for cidr in subnets])
        self.client.wait_until_ready()
        self.network = self.client.apply_network(wanted)

    def start(self, controllers: Sequence[object]) -> None:
        """Nothing is left to do. Raises TopologyError if there is a controller."""
        if controllers:
            raise TopologyError("the agent is the only controller of its bridge: Mininet(..., controller=None)")

    def connected(self) -> bool:
        """Tell whether the agent's switch is connected and resynced."""
        return self.client.host().ready

    def plug(self, host: Node, interface: str, *, mac: str | None, addresses: Mapping[int, str]) -> Port:
        """Plug an interface of a host; return when the datapath is confirmed.

        `addresses` by IP version; for a family that is not given and in which the network has a subnet, the host's
        number in the other family is taken.
        """
        subnets = [ip_network(subnet.cidr) for subnet in self.network.subnets]
        return self.client.plug(
            PortSpec(
                port_id=f"{self.network.network_id}.{interface}",
                network_id=self.network.network_id,
                device_id=str(host.name),
                device_owner="mininet",
                mac_address=mac or "",
                fixed_ips=_fixed_ips(subnets, addresses),
                namespace=NamespaceConsumer(netns_path=f"/proc/{host.pid}/ns/net", interface_name=interface),
            )
        )

    def unplug(self, port: Port) -> None:
        """Remove a port; return when its absence is verified."""
        self.client.unplug(port.spec.port_id, missing_ok=True)

    def stop(self, deleteIntfs: bool = True) -> None:  # noqa: N803 - Mininet's name
        """Delete the network. Its links are stopped before, as `Mininet.stop` does."""
        super().stop(deleteIntfs)
        self.client.delete_network(self.network.network_id, missing_ok=True)

    def terminate(self) -> None:
        """End the switch's shell and the connection to the agent."""
        super().terminate()
        self.client.close()


def agent_switch(**options: Any) -> partial[AgentSwitch]:
    """Return an AgentSwitch with options, to be given as `Mininet(switch=...)`."""
    return partial(AgentSwitch, **options)


class AgentHost(Host):  # type: ignore[misc]
    """A host that knows its IPv6 address. Mininet's other host classes can be plugged as well."""

    def IP6(self, intf: Intf | str | None = None) -> str | None:  # noqa: N802 - in the manner of IP() and MAC()
        """Return the IPv6 address of an interface, by default the first; None if there is none."""
        found: str | None = self.intf(intf).IP6()
        return found


def ping6_all(hosts: Sequence[AgentHost], *, timeout_s: int = 1) -> list[tuple[str, str]]:
    """Do in IPv6 what `Mininet.pingAll` does; return the pairs (from, to) of which the ping was lost."""
    return [
        (source.name, target.name)
        for source in hosts
        for target in hosts
        if source is not target and " 1 received" not in source.cmd(f"ping -c1 -W{timeout_s} {target.IP6()}")
    ]


class AgentIntf(Intf):  # type: ignore[misc]
    """One end of a plugged link. It was configured by the agent; Mininet only gets to know it."""

    def __init__(self, name: str, *, node: Node, link: AgentLink, port: int | None, mac: str, ips: Sequence[str]):
        """`ips` with prefix lengths; none for the switch's end."""
        self.ips = tuple(ip_interface(text) for text in ips)
        super().__init__(name, node=node, port=port, link=link, mac=mac, moveIntfFn=_stay)
        main = min(self.ips, key=lambda address: address.version, default=None)
        self.ip = str(main.ip) if main else None
        self.prefixLen = str(main.network.prefixlen) if main else None

    def config(self, **_params: Any) -> dict[str, object]:
        """Leave everything as the agent made it."""
        return {}

    def IP6(self) -> str | None:  # noqa: N802 - in the manner of IP() and MAC()
        """Return the IPv6 address, None if there is none."""
        return next((str(address.ip) for address in self.ips if address.version == 6), None)

    def setIP(self, ipstr: str, prefixLen: int | None = None) -> str:  # noqa: ARG002, N802, N803 - Mininet's names
        """Take note that Mininet wants the address that is there. Raises TopologyError for another."""
        wanted = ipstr.split("/", maxsplit=1)[0]
        if wanted not in {str(address.ip) for address in self.ips}:
            raise TopologyError(
                f"{self.name} was plugged with {', '.join(map(str, self.ips))}; the address of a port does not change"
            )
        return ""

    def setMAC(self, macstr: str) -> str:  # noqa: N802 - Mininet's name
        """Take note that Mininet wants the MAC that is there. Raises TopologyError for another."""
        if macstr.lower() != self.mac:
            raise TopologyError(f"{self.name} was plugged with {self.mac}; the MAC of a port does not change")
        return ""

    def delete(self) -> None:
        """Forget it. The device goes with its link."""
        self.node.delIntf(self)
        self.link = None


class AgentLink(Link):  # type: ignore[misc]
    """A port: a host's interface on an AgentSwitch. There when the datapath is confirmed; `stop` unplugs it.

    The address is the host's parameter `ip` for its first interface, for others that of the link's parameters
    (`params1={"ip": "10.1.0.1/24"}`); `ip6` likewise. `port` is the confirmed port, with its evidence.
    """

    def __init__(  # deliberately not Link's: that one makes a veth pair itself
        self,
        node1: Node,
        node2: Node,
        port1: int | None = None,
        port2: int | None = None,
        *,
        intfName1: str | None = None,  # noqa: N803 - Mininet's names
        intfName2: str | None = None,  # noqa: N803
        addr1: str | None = None,
        addr2: str | None = None,
        params1: Mapping[str, Any] | None = None,
        params2: Mapping[str, Any] | None = None,
        intf: object = None,  # noqa: ARG002
        **params: Any,
    ) -> None:
        """The arguments are those of `mininet.link.Link`. `intf` is Mininet's default class and not used.

        Raises TopologyError, and the classes of `ofctl.client.errors`.
        """
        first = (node1, port1, intfName1, addr1, params1)
        second = (node2, port2, intfName2, addr2, params2)
        if isinstance(node1, AgentSwitch) == isinstance(node2, AgentSwitch):
            raise TopologyError(
                f"{node1} and {node2}: a link of the agent is between a host and a switch; two switches are two "
                "networks, and a host is reached through its switch alone"
            )
        mine, others = (second, first) if isinstance(node1, AgentSwitch) else (first, second)
        host, host_port, name, mac, own = mine
        self.switch: AgentSwitch = others[0]
        if not host.inNamespace:
            raise TopologyError(f"{host} has no network namespace of its own, so nothing can be plugged into it")
        wanted = {**params, **(own or {})}
        if not host.intfs:
            wanted = {**{key: host.params[key] for key in ("ip", "ip6", "mac") if key in host.params}, **wanted}
        number = host.newPort() if host_port is None else host_port
        interface = name or self.intfName(host, number)
        addresses = {version: wanted[key] for version, key in ((4, "ip"), (6, "ip6")) if wanted.get(key)}
        port = self.switch.plug(host, interface, mac=wanted.get("mac") or mac, addresses=addresses)
        self.port: Port | None = port
        subnets = [ip_network(subnet.cidr) for subnet in self.switch.network.subnets]
        near = AgentIntf(
            interface, node=host, link=self, port=number, mac=port.spec.mac_address, ips=_with_prefix(port, subnets)
        )
        far = AgentIntf(port.vif_details.device_name, node=self.switch, link=self, port=others[1], mac="", ips=())
        self.intf1, self.intf2 = (far, near) if host is node2 else (near, far)

    def delete(self) -> None:
        """Unplug; return when the absence is verified. Safe to call again."""
        if self.port is not None:
            self.switch.unplug(self.port)
            self.port = None
            super().delete()

    def status(self) -> str:
        """Return the state of the port as the agent sees it now."""
        assert self.port is not None
        state = self.switch.client.port(self.port.spec.port_id).state
        return f"({self.port.spec.port_id} {state})"


def _fixed_ips(subnets: Sequence[Any], addresses: Mapping[int, str]) -> list[str]:
    """Return one address for each family in which there is a subnet, by host number where none is given."""
    known = {version: ip_interface(text).ip for version, text in addresses.items()}
    chosen = [str(address) for address in known.values()]
    for version, other in ((4, 6), (6, 4)):
        if version in known or other not in known:
            continue
        here = next((subnet for subnet in subnets if subnet.version == version), None)
        there = next((subnet for subnet in subnets if subnet.version == other and known[other] in subnet), None)
        if here is not None and there is not None:
            number = int(known[other]) - int(there.network_address)
            if number < here.num_addresses:
                chosen.append(str(here[number]))
    return chosen


def _with_prefix(port: Port, subnets: Sequence[Any]) -> list[str]:
    """Return the port's addresses with the prefix lengths of their subnets."""
    return [
        f"{address}/{subnet.prefixlen}"
        for address in port.spec.fixed_ips
        for subnet in subnets
        if ip_interface(address).ip in subnet
    ]


def _stay(*_arguments: object) -> None:
    """The agent made the interface where it belongs."""
