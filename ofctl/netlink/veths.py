"""Makes a veth pair true, with one end in another network namespace. Blocking; for the worker's thread."""

from __future__ import annotations

import errno
import secrets
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ofctl.errors import DeviceError, Refused
from ofctl.model.network import IpInterface
from ofctl.model.port import Route
from ofctl.netlink import messages
from ofctl.netlink.kernel import refused, step
from ofctl.netlink.links import Links, foreign, keep_host_silent, undo_deadline, verify
from ofctl.netlink.mark import OwnerMark
from ofctl.netlink.namespaces import NO_ENTRY, Entrance, open_netns
from ofctl.netlink.rtnl import KernelError, Request, RouteSocket, first_payload
from ofctl.netlink.specs import DeviceState, Ensured, VethSpec
from ofctl.netlink.tun import switch_tx_checksum_off

KIND = "veth"
_LOOPBACK_IFINDEX = 1
_GATEWAY_CURE = "the gateway is in no subnet of the addresses; give a route to the gateway itself before this one"
Steps = Sequence[tuple[str, Request]]
"""Requests, each with what it does."""
_NO_IPV6_CURE = "IPv6 is disabled in that namespace: sysctl net.ipv6.conf.*.disable_ipv6"


def ensure_veth(links: Links, spec: VethSpec, mark: OwnerMark, *, deadline: float) -> Ensured:
    """See `Devices.ensure_veth`."""
    with open_netns(spec.netns_path, field=spec.netns_field, subject=spec.device) as netns:
        existing = links.find_owned(spec.device, mark, deadline, take_over=KIND if spec.take_over else None)
        with step(f"enter the network namespace {spec.netns_path}", subject=spec.device, not_permitted=NO_ENTRY):
            entrance = Entrance(netns)
        try:
            return _Pair(links, entrance, netns, spec, mark, deadline).ensure(existing)
        finally:
            entrance.close()


@dataclass(frozen=True, slots=True)
class _Pair:
    """One call's work on one pair: `links` here, the `entrance` to the other namespace, its descriptor `netns`."""

    links: Links
    entrance: Entrance
    netns: int
    spec: VethSpec
    mark: OwnerMark
    deadline: float

    @property
    def inside(self) -> RouteSocket:
        """The socket in the other namespace. Raises DeviceError if it cannot be entered."""
        doing = f"enter the network namespace {self.spec.netns_path}"
        with step(doing, subject=self.spec.device, not_permitted=NO_ENTRY):
            return self.entrance.socket()

    def ensure(self, existing: DeviceState | None) -> Ensured:
        peer = None
        if existing is not None:
            peer = self._peer_of(existing)
            if peer is None:
                self.links.delete([existing], self.deadline)
                existing = None
        taken_over = existing is not None and existing.mark is None
        if existing is not None and taken_over:
            existing = self.links.take_over(existing, self.mark, self.deadline)
        host = existing or self._create()
        try:
            if existing is not None:
                self._bring_host_end_to_spec(existing)
            self._configure_peer(peer)
            state = verify(self.links.at(host.ifindex, self.deadline), self.spec.device, mtu=self.spec.mtu, kind=KIND)
        except BaseException:
            if existing is None:
                self.links.delete([host], undo_deadline())
            raise
        return Ensured(state=state, created=existing is None, taken_over=taken_over)

    def _create(self) -> DeviceState:
        """Make the pair; the peer is born in its namespace and never stands in ours."""
        try:
            return self._create_once()
        except Refused as error:
            # The end of a pair of ours that was cut off in the middle may have the name.
            stale = [
                state
                for state in self.links.all(self.deadline)
                if state.mark == self.mark and state.device != self.spec.device
            ]
            if error.reason != "PEER_NAME_TAKEN" or not stale:
                raise
            self.links.delete(stale, self.deadline)
        return self._create_once()

    def _create_once(self) -> DeviceState:
        """Make the pair under a temporary name and mark it in the same send, then give it its name.

        RTM_NEWLINK ignores IFLA_IFALIAS when it creates, so the mark needs a second request; both go in one batch,
        which a crash cannot split (`RouteSocket.transact`). Should the creation fail, the second must not mark
        somebody else's device of the same name: hence a random name that nobody else has.
        """
        spec = self.spec
        temporary = "ofctl" + secrets.token_hex(5)
        with step(f"create the veth pair {spec.device}", subject=spec.device):
            try:
                answers = self.links.socket.transact(
                    messages.new_veth(
                        temporary, mtu=spec.mtu, peer=spec.peer_name, peer_mac=spec.peer_mac, peer_netns=self.netns
                    ),
                    messages.set_link(attrs=[("IFLA_IFNAME", temporary), ("IFLA_IFALIAS", str(self.mark))]),
                    messages.get_link(device=temporary),
                    deadline=self.deadline,
                )
            except KernelError as error:
                if error.errno == errno.EEXIST and error.position == 0:
                    raise Refused(
                        f"{spec.netns_path} has a device named {spec.peer_name} already; choose another name",
                        reason="PEER_NAME_TAKEN",
                        subject=spec.peer_name,
                    ) from error
                raise
        created = messages.read_link(first_payload(answers, 2))
        try:
            self._name_and_raise(created)
        except BaseException:
            self.links.delete([created], undo_deadline())
            raise
        return created

    def _name_and_raise(self, created: DeviceState) -> None:
        device = self.spec.device
        with step(f"name and bring up the host end {device}", subject=device):
            keep_host_silent(self.links.socket, created.ifindex, self.deadline)
            rename = messages.set_link(ifindex=created.ifindex, attrs=[("IFLA_IFNAME", device)], up=True)
            try:
                self.links.socket.transact(rename, deadline=self.deadline)
            except KernelError as error:
                if error.errno == errno.EEXIST:
                    raise foreign(device) from error
                raise

    def _peer_of(self, host: DeviceState) -> DeviceState | None:
        """Return the far end of `host` if it is in the wanted namespace under the wanted name, else None."""
        if host.kind != KIND or host.peer_ifindex is None or host.peer_nsid is None:
            return None
        with step(f"look at the far end of {host.device}", subject=host.device):
            answers = self.links.socket.transact(messages.nsid_of(self.netns), deadline=self.deadline)
            if messages.read_nsid(first_payload(answers, 0)) != host.peer_nsid:
                return None
            answers = self.inside.transact(messages.get_link(ifindex=host.peer_ifindex), deadline=self.deadline)
            peer = messages.read_link(first_payload(answers, 0))
        return peer if peer.device == self.spec.peer_name else None

    def _bring_host_end_to_spec(self, host: DeviceState) -> None:
        if host.mtu == self.spec.mtu and host.up:
            return
        with step(f"bring the host end {host.device} to its specification", subject=host.device):
            request = messages.set_link(ifindex=host.ifindex, attrs=[("IFLA_MTU", self.spec.mtu)], up=True)
            self.links.socket.transact(request, deadline=self.deadline)

    def _configure_peer(self, peer: DeviceState | None) -> None:
        """Give the far end its MTU, MAC, offload, addresses and routes, and bring it and the loopback up."""
        spec = self.spec
        where = f"{spec.peer_name} in {spec.netns_path}"
        with step(f"look at {where}", subject=spec.peer_name):
            if peer is None:
                answers = self.inside.transact(messages.get_link(device=spec.peer_name), deadline=self.deadline)
                peer = messages.read_link(first_payload(answers, 0))
            if spec.checksum_offload_off:
                switch_tx_checksum_off(self.inside.fileno(), spec.peer_name)
        attrs: messages.Attributes = []
        if peer.mtu != spec.mtu:
            attrs.append(("IFLA_MTU", spec.mtu))
        if spec.peer_mac is not None and peer.mac != spec.peer_mac:
            attrs.append(("IFLA_ADDRESS", spec.peer_mac))
        former = set(spec.former_addresses) - set(spec.addresses)
        try:
            self._run_inside(self._steps(peer.ifindex, attrs, former))
        except DeviceError as error:
            if not former or error.metadata.get("errno") != "EADDRNOTAVAIL":
                raise
            # It was gone already. The kernel went on after it; whether something else failed, too, is seen without it.
            self._run_inside(self._steps(peer.ifindex, attrs, ()))
        for route in spec.routes:
            self._add_route(peer.ifindex, route)

    def _steps(self, ifindex: int, attrs: messages.Attributes, former: Iterable[IpInterface]) -> Steps:
        """Return what brings the far end up with its addresses and without the former ones, which go alone."""
        gone = tuple(former)
        where = f"{self.spec.peer_name} in {self.spec.netns_path}"
        up = messages.set_link(ifindex=_LOOPBACK_IFINDEX, up=True)
        return [
            (f"bring up the loopback of {self.spec.netns_path}", up),
            (f"bring up {where}", messages.set_link(ifindex=ifindex, attrs=list(attrs), up=True)),
            *((f"keep the others of {where}", messages.promote_secondaries(ifindex)) for _ in gone[:1]),
            *((f"take {each} from {where}", messages.delete_address(ifindex, each)) for each in gone),
            *(
                (f"give {where} the address {each}", messages.add_address(ifindex, each))
                for each in self.spec.addresses
            ),
        ]

    def _run_inside(self, requests: Steps) -> None:
        """Run requests in one batch; raises DeviceError that says which one failed."""
        with step(requests[0][0], subject=self.spec.peer_name):
            try:
                self.inside.transact(*(request for _, request in requests), deadline=self.deadline)
            except KernelError as error:
                doing, _ = requests[error.position]
                cure = _NO_IPV6_CURE if error.errno == errno.EACCES else ""
                raise refused(doing, error, subject=self.spec.peer_name, cure=cure) from error

    def _add_route(self, ifindex: int, route: Route) -> None:
        """Add a route; one that is there already and goes the same way is right."""
        spec = self.spec
        doing = f"add the route to {route.destination} in {spec.netns_path}"
        with step(doing, subject=spec.peer_name):
            try:
                self.inside.transact(messages.add_route(ifindex, route), deadline=self.deadline)
            except KernelError as error:
                if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
                    raise refused(doing, error, subject=spec.peer_name, cure=_GATEWAY_CURE) from error
                if error.errno != errno.EEXIST:
                    raise
            else:
                return
            request = messages.all_routes(socket.AF_INET if route.destination.version == 4 else socket.AF_INET6)
            entries = [messages.read_route(raw) for raw in self.inside.dump(request, deadline=self.deadline)]
        via = None if route.via is None else str(route.via)
        wanted = messages.RouteEntry(str(route.destination), via, (ifindex,), messages.RT_TABLE_MAIN, True)
        if wanted not in entries:
            raise Refused(
                f"{spec.netns_path} has another route to {route.destination} already",
                reason="ROUTE_CONFLICT",
                subject=str(route.destination),
            )
