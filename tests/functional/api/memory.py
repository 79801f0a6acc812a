"""An engine that keeps its ports in memory: the boundary that the API is tested at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from ofctl.engine.contract import (
    AddressGroupApplied,
    PlugRequest,
    SecurityGroupApplied,
    UnplugRequest,
    UpdateRequest,
)
from ofctl.engine.port_log import CAPACITY, PortLog
from ofctl.errors import Aborted, NotFound, Refused
from ofctl.model.audit import AuditReport, Finding
from ofctl.model.confirmation import (
    BUILT_LEVELS,
    Confirmation,
    Level,
    Outcome,
    ProbeFrame,
    RequestRecord,
    StageTiming,
)
from ofctl.model.events import PortEvent, PortEventType
from ofctl.model.host import BridgeView, HostView, UplinkView
from ofctl.model.ids import (
    DeviceName,
    Dpid,
    HostId,
    MacAddress,
    NetworkId,
    NetworkIndex,
    OfPort,
    PhysicalNetwork,
    PortId,
    PortIndex,
    RequestId,
    derived_device_name,
    derived_mac,
)
from ofctl.model.network import Network, NumberedNetwork
from ofctl.model.port import Binding, BindingNumbers, NamespaceConsumer, PortSpec, PortState, VifType
from ofctl.model.security import (
    AddressGroup,
    AddressGroupId,
    AddressGroupIndex,
    NumberedAddressGroup,
    NumberedSecurityGroup,
    SecurityGroup,
    SecurityGroupId,
    SecurityGroupIndex,
)
from ofctl.model.vif import DatapathType, PluggedPort, VifDetails

HOST = HostId("host-1")
AT_MS = 1_700_000_000_000


def plugged(
    spec: PortSpec,
    *,
    level: Level | None,
    request_id: str = "",
    principal: str = "uid:0",
    index: int = 1,
    generation: int = 0,
) -> PluggedPort:
    """Return a port as the engine would after a plug; without a level, as before it."""
    admitted = replace(spec, mac_address=spec.mac_address or derived_mac(spec.port_id), mtu=spec.mtu or 1500)
    device = spec.requested_device or derived_device_name("tap", spec.port_id)
    consumer = spec.consumer
    veth = consumer if isinstance(consumer, NamespaceConsumer) else None
    binding = Binding(
        spec=admitted,
        device=device,
        numbers=BindingNumbers(index=PortIndex(index), slot=0),
        state=PortState.ACTIVE if level else PortState.BUILD,
        state_since_ms=AT_MS,
        request_id=RequestId(request_id),
        principal=principal,
        generation=generation,
        confirmation=evidence(level, ofport=index) if level else None,
    )
    vif = VifDetails(
        vif_type=VifType.VETH if veth else VifType.TAP,
        bridge="br-int",
        device=device,
        mtu=binding.mtu,
        mac_address=MacAddress(binding.mac_address),
        datapath_type=DatapathType.NETDEV,
        checksum_offload_must_be_off=True,
        peer_device=veth.interface_name if veth else None,
        netns_path=veth.netns_path if veth else "",
    )
    return PluggedPort(binding=binding, vif=vif)


def evidence(level: Level, *, ofport: int = 1) -> Confirmation:
    """Return some evidence; in place of PROBE that of PIPELINE, as for a port in use."""
    frames = (ProbeFrame("ARP request from the guest", "at port 7", "at port 7"),)
    note = "a guest holds the TAP open" if level is Level.PROBE else ""
    return Confirmation(
        level=min(level, Level.PIPELINE),
        stages=(StageTiming(stage="device", duration_us=900), StageTiming(stage="flows", duration_us=1500)),
        ifindex=7,
        ofport=OfPort(ofport),
        dpid=Dpid(0xABC),
        connection_generation=2,
        bundle_id=11,
        barrier_xid=4711,
        flow_count=40,
        flow_digest="ab" * 32,
        confirmed_at_ms=AT_MS,
        frames=frames if level >= Level.PIPELINE else (),
        note=note,
    )


class MemoryEngine:
    """A PlugEngine without a switch, with the log of a real one. Set `before_plug` to make a plug wait or fail."""

    def __init__(self, *, log_capacity: int = CAPACITY) -> None:
        self.host_id = HOST
        self.plugs: list[PlugRequest] = []
        self.unplugs: list[UnplugRequest] = []
        self.updates: list[UpdateRequest] = []
        self.group_levels: list[Level] = []
        self.deadlines: list[float] = []
        self.verified: list[Level] = []
        self.audits: list[bool] = []
        self.findings: tuple[Finding, ...] = ()
        self.app_counts: dict[str, int] = {}
        self.counters: tuple[tuple[str, int], ...] = ()
        self.log = PortLog(self.ports, capacity=log_capacity)
        self.cancelled = asyncio.Event()
        self.before_plug: Callable[[PlugRequest], Awaitable[None]] | None = None
        self.not_ready: tuple[str, ...] = ()
        self._ports: dict[tuple[PortId, HostId], PluggedPort] = {}
        self._networks: dict[NetworkId, NumberedNetwork] = {}
        self._security_groups: dict[SecurityGroupId, NumberedSecurityGroup] = {}
        self._address_groups: dict[AddressGroupId, NumberedAddressGroup] = {}
        self.records: dict[RequestId, RequestRecord] = {}

    async def plug(self, request: PlugRequest) -> tuple[PluggedPort, ...]:
        self.plugs.append(request)
        first = request.specs[0]
        try:
            if self.before_plug is not None:
                await self.before_plug(request)
        except asyncio.CancelledError:
            self.cancelled.set()
            self._record(request, Outcome.ABSENT)
            raise
        for spec in request.specs:
            if spec.network_id not in self._networks:
                raise NotFound(f"no network {spec.network_id!r}; apply it first", subject="port.network_id")
        ports = tuple(
            plugged(
                spec,
                level=None if request.validate_only else request.level,
                request_id=request.request_id,
                principal=request.principal,
                generation=request.generation,
                index=len(self._ports) + number + 1,
            )
            for number, spec in enumerate(request.specs)
        )
        if not request.validate_only:
            for port in ports:
                self.put(port)
            self._record(request, Outcome.CONFIRMED)
        assert first.host_id == self.host_id
        return ports

    def put(self, port: PluggedPort) -> None:
        """Keep a port, new or changed, and tell those who watch."""
        key = (port.binding.port_id, port.binding.spec.host_id)
        before = self._ports.get(key)
        self.log.write(PortEventType.CHANGED if before else PortEventType.ADDED, port, before=before)
        self._ports[key] = port

    def _record(self, request: PlugRequest, outcome: Outcome) -> None:
        self.records[request.request_id] = RequestRecord(
            request_id=request.request_id,
            port_id=request.specs[0].port_id,
            port_ids=frozenset(spec.port_id for spec in request.specs),
            host_id=request.specs[0].host_id,
            outcome=outcome,
            at_ms=AT_MS,
        )

    async def unplug(self, request: UnplugRequest) -> None:
        self.unplugs.append(request)
        self.port(request.port_id, request.host_id)
        self.log.write(PortEventType.REMOVED, self._ports.pop((request.port_id, request.host_id)))

    async def update(self, request: UpdateRequest) -> PluggedPort:
        self.updates.append(request)
        port = self.port(request.port_id, request.host_id)
        binding = port.binding
        if request.revision not in (0, binding.revision):
            raise Aborted(
                f"port {request.port_id!r} has revision {binding.revision}, not {request.revision}",
                reason="REVISION_MISMATCH",
                metadata={"outcome": Outcome.UNCHANGED.name},
            )
        spec = request.changes.applied_to(binding.spec)
        changed = replace(binding, spec=spec, revision=binding.revision + 1, confirmation=evidence(request.level))
        self.put(replace(port, binding=changed))
        self.records[request.request_id] = RequestRecord(
            request_id=request.request_id,
            port_id=request.port_id,
            host_id=request.host_id,
            outcome=Outcome.CONFIRMED,
            at_ms=AT_MS,
            update=True,
        )
        return self.port(request.port_id, request.host_id)

    def port(self, port_id: PortId, host_id: HostId) -> PluggedPort:
        try:
            return self._ports[port_id, host_id]
        except KeyError:
            raise NotFound(f"no port {port_id!r} on host {host_id!r}", subject=port_id) from None

    def request(self, request_id: RequestId) -> RequestRecord:
        try:
            return self.records[request_id]
        except KeyError:
            raise NotFound(f"no request {request_id!r} is remembered", subject=request_id) from None

    def ports(self) -> tuple[PluggedPort, ...]:
        return tuple(self._ports[key] for key in sorted(self._ports))

    async def verify(self, port_id: PortId, host_id: HostId, level: Level, *, deadline: float) -> PluggedPort:
        self.verified.append(level)
        self.deadlines.append(deadline)
        port = self.port(port_id, host_id)
        return replace(port, binding=replace(port.binding, confirmation=evidence(level, ofport=9)))

    def watch(self, *, epoch: str = "", after: int = 0) -> AsyncIterator[PortEvent]:
        return self.log.follow(epoch=epoch, after=after)

    async def audit(self, *, repair: bool, deadline: float) -> AuditReport:
        self.audits.append(repair)
        self.deadlines.append(deadline)
        return AuditReport(
            ports=len(self._ports),
            devices=2,
            rows=3,
            flows=40,
            groups=5,
            findings=tuple(replace(finding, repaired=repair) for finding in self.findings),
        )

    async def apply_network(self, network: Network, *, deadline: float) -> NumberedNetwork:
        self.deadlines.append(deadline)
        numbered = NumberedNetwork(network=network, index=NetworkIndex(len(self._networks) + 1))
        self._networks[network.network_id] = numbered
        return numbered

    async def apply_network_for_tests(self, network_id: str) -> None:
        """Apply a network without subnets."""
        await self.apply_network(Network(network_id=NetworkId(network_id)), deadline=0)

    async def delete_network(self, network_id: NetworkId, *, deadline: float) -> None:
        self.deadlines.append(deadline)
        self.network(network_id)
        if any(port.binding.network_id == network_id for port in self._ports.values()):
            raise Refused(f"network {network_id!r} is used by ports; unplug them first", reason="NETWORK_IN_USE")
        del self._networks[network_id]

    def network(self, network_id: NetworkId) -> NumberedNetwork:
        try:
            return self._networks[network_id]
        except KeyError:
            raise NotFound(f"no network {network_id!r}", subject=network_id) from None

    def networks(self) -> tuple[NumberedNetwork, ...]:
        return tuple(self._networks[key] for key in sorted(self._networks))

    def _using(self, *groups: SecurityGroupId, level: Level = Level.DATAPATH) -> tuple[PluggedPort, ...]:
        return tuple(
            replace(port, binding=replace(port.binding, confirmation=evidence(level)))
            for port in self.ports()
            if set(groups) & set(port.binding.spec.security_groups)
        )

    async def apply_security_group(
        self, group: SecurityGroup, *, level: Level, deadline: float
    ) -> SecurityGroupApplied:
        self.group_levels.append(level)
        self.deadlines.append(deadline)
        numbered = NumberedSecurityGroup(group=group, index=SecurityGroupIndex(len(self._security_groups) + 1))
        self._security_groups[group.security_group_id] = numbered
        return SecurityGroupApplied(group=numbered, ports=self._using(group.security_group_id, level=level))

    async def delete_security_group(self, group_id: SecurityGroupId, *, deadline: float) -> None:
        self.deadlines.append(deadline)
        self.security_group(group_id)
        if users := self._using(group_id):
            raise Refused(f"security group {group_id} is used by {len(users)} ports", reason="GROUP_IN_USE")
        del self._security_groups[group_id]

    def security_group(self, group_id: SecurityGroupId) -> NumberedSecurityGroup:
        try:
            return self._security_groups[group_id]
        except KeyError:
            raise NotFound(f"no security group {group_id!r}", subject=group_id) from None

    def security_groups(self) -> tuple[NumberedSecurityGroup, ...]:
        return tuple(self._security_groups[key] for key in sorted(self._security_groups))

    async def apply_address_group(self, group: AddressGroup, *, level: Level, deadline: float) -> AddressGroupApplied:
        self.group_levels.append(level)
        self.deadlines.append(deadline)
        numbered = NumberedAddressGroup(group=group, index=AddressGroupIndex(len(self._address_groups) + 1))
        self._address_groups[group.address_group_id] = numbered
        naming = (
            each.group.security_group_id
            for each in self._security_groups.values()
            if any(rule.remote_address_group == group.address_group_id for rule in each.group.rules)
        )
        return AddressGroupApplied(group=numbered, ports=self._using(*naming, level=level))

    async def delete_address_group(self, group_id: AddressGroupId, *, deadline: float) -> None:
        self.deadlines.append(deadline)
        self.address_group(group_id)
        del self._address_groups[group_id]

    def address_group(self, group_id: AddressGroupId) -> NumberedAddressGroup:
        try:
            return self._address_groups[group_id]
        except KeyError:
            raise NotFound(f"no address group {group_id!r}", subject=group_id) from None

    def address_groups(self) -> tuple[NumberedAddressGroup, ...]:
        return tuple(self._address_groups[key] for key in sorted(self._address_groups))

    async def app_counters(self, *, deadline: float) -> dict[str, int]:
        return dict(self.app_counts)

    def host(self) -> HostView:
        bridge = BridgeView(
            name="br-int",
            dpid=Dpid(0xABC),
            datapath_type=DatapathType.NETDEV,
            owner="ofctl",
            connected=not self.not_ready,
            resynced=not self.not_ready,
            connection_generation=2,
            foreign_ports=(DeviceName("eth9"),),
        )
        return HostView(
            host_id=self.host_id,
            versions=(("ofctl", "0.1.0"), ("openvswitch", "3.1.0")),
            bridges=(bridge,),
            uplinks=(UplinkView(physical_network=PhysicalNetwork("physnet1"), device=DeviceName("eth1")),),
            vif_types=(VifType.TAP, VifType.VETH),
            levels=BUILT_LEVELS,
            max_ports=1000,
            port_count=len(self._ports),
            not_ready=self.not_ready,
            counters=self.counters,
        )
