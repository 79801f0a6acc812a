"""What the engine offers to the northbound API: requests, replies and the calls. No OVS word in here.

Deadlines are instants of the running event loop's clock (`loop.time()`), in seconds, and are those at which the
*reply* must be ready; the caller of the engine has subtracted the reserve that carrying the reply needs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from ofctl.model.audit import AuditReport
from ofctl.model.changes import PortChanges
from ofctl.model.confirmation import Level, RequestRecord
from ofctl.model.events import PortEvent
from ofctl.model.host import HostView
from ofctl.model.ids import HostId, NetworkId, PortId, RequestId
from ofctl.model.network import Network, NumberedNetwork
from ofctl.model.port import PortSpec
from ofctl.model.security import (
    AddressGroup,
    AddressGroupId,
    NumberedAddressGroup,
    NumberedSecurityGroup,
    SecurityGroup,
    SecurityGroupId,
)
from ofctl.model.vif import PluggedPort


@dataclass(frozen=True, slots=True, kw_only=True)
class PlugRequest:
    """One plug of one or several ports, all or nothing."""

    specs: tuple[PortSpec, ...]
    request_id: RequestId
    level: Level
    principal: str
    admin: bool
    deadline: float
    validate_only: bool = False
    generation: int = 0
    """Fences the ports: refused if a greater one was seen for one of them, also before an unplug. 0: no fence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnplugRequest:
    """Remove a port from a host. `force`: even while somebody holds its TAP open."""

    port_id: PortId
    host_id: HostId
    principal: str
    admin: bool
    deadline: float
    force: bool = False
    generation: int = 0
    """As in PlugRequest: an unplug with 5 keeps a late plug with 4 from winning. 0: no fence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest:
    """Change some fields of a port that is plugged, all or nothing."""

    port_id: PortId
    host_id: HostId
    changes: PortChanges
    request_id: RequestId
    level: Level
    principal: str
    admin: bool
    deadline: float
    revision: int = 0
    """The port's revision must be this one; 0: any."""
    generation: int = 0
    """As in PlugRequest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroupApplied:
    """A security group as it is now, and every port of this host whose flows depend on it."""

    group: NumberedSecurityGroup
    ports: tuple[PluggedPort, ...]
    """In order of (port id, host id), each with fresh evidence: those with the group, and those of a group with a rule
    that names it. Empty if nothing was changed and nothing uses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressGroupApplied:
    """An address group as it is now, and every port of this host that has a group with a rule that names it."""

    group: NumberedAddressGroup
    ports: tuple[PluggedPort, ...]
    """In order of (port id, host id), each with fresh evidence."""


class PlugEngine(Protocol):
    """The engine as the API sees it. Every call may raise a class of `ofctl.errors`."""

    @property
    def host_id(self) -> HostId: ...

    async def plug(self, request: PlugRequest) -> tuple[PluggedPort, ...]:
        """Return when every port is confirmed at the level asked for, in the order of the specs.

        A request whose `request_id` or spec matches a plug in flight joins it; one that matches a port that is there
        returns it with fresh evidence. With `validate_only` the replies are in state BUILD and have no confirmation.
        If the task is cancelled, what this call alone created is rolled back in the background.
        """

    async def unplug(self, request: UnplugRequest) -> None:
        """Return when the absence is verified. Raises NotFound if there is no such port."""

    async def update(self, request: UpdateRequest) -> PluggedPort:
        """Return the port as changed when that is durable and confirmed at the level asked for.

        On failure the port is as before, `metadata["outcome"]` UNCHANGED, or UNKNOWN if the switch cannot be reached.
        A request whose `request_id` matches an update in flight joins it; one that matches an update that succeeded,
        or that changes nothing, returns the port with fresh evidence. Raises NotFound, PermissionDenied, Aborted
        (REVISION_MISMATCH; an unplug overtook it), Refused (STALE_GENERATION, SECURITY_GROUPS_MIXED,
        SECURITY_GROUP_NOT_FOUND, an address in use), Unavailable (PORT_BUSY), InvalidField with a path below `port`.
        """

    def port(self, port_id: PortId, host_id: HostId) -> PluggedPort:
        """Return the port as it is known now, in whatever state. Raises NotFound."""

    def request(self, request_id: RequestId) -> RequestRecord:
        """Return the outcome of an earlier PlugPort. Raises NotFound."""

    def ports(self) -> tuple[PluggedPort, ...]:
        """Return all ports in order of (port id, host id)."""

    async def verify(self, port_id: PortId, host_id: HostId, level: Level, *, deadline: float) -> PluggedPort:
        """Return the port with evidence afresh. Nothing is made or mended; raises what does not hold, and NotFound."""

    def watch(self, *, epoch: str = "", after: int = 0) -> AsyncIterator[PortEvent]:
        """Return the changes of ports from now on, or from after revision `after` of `epoch`, without end.

        Begins with a snapshot (PRESENT events) and SYNCED; a resumed stream with what was missed and SYNCED, or with
        a snapshot if that is no longer known. A reader who is too slow gets ResourceExhausted (WATCH_TOO_SLOW) and
        can resume. Close the iterator when done.
        """

    async def audit(self, *, repair: bool, deadline: float) -> AuditReport:
        """Compare the kernel, the switch's database and the switch with the intents; with `repair`, mend them."""

    async def apply_network(self, network: Network, *, deadline: float) -> NumberedNetwork:
        """Create the network or make it as given; return when that is durable and confirmed by the switch."""

    async def delete_network(self, network_id: NetworkId, *, deadline: float) -> None:
        """Delete a network that no port uses. Raises NotFound, Refused."""

    def network(self, network_id: NetworkId) -> NumberedNetwork:
        """Raises NotFound."""

    def networks(self) -> tuple[NumberedNetwork, ...]:
        """Return all networks in order of their ids."""

    async def apply_security_group(
        self, group: SecurityGroup, *, level: Level, deadline: float
    ) -> SecurityGroupApplied:
        """Create the group or make it as given; return when that is durable and confirmed on every port of it.

        On failure the group is as before, `metadata["outcome"]` UNCHANGED or UNKNOWN. Raises Refused
        (SECURITY_GROUP_NOT_FOUND, ADDRESS_GROUP_NOT_FOUND for a remote that is not there, except itself;
        SECURITY_GROUPS_MIXED), NotSupported (level), ResourceExhausted.
        """

    async def delete_security_group(self, group_id: SecurityGroupId, *, deadline: float) -> None:
        """Delete a group that no port has and no other group names. Raises NotFound, Refused (GROUP_IN_USE)."""

    def security_group(self, group_id: SecurityGroupId) -> NumberedSecurityGroup:
        """Raises NotFound."""

    def security_groups(self) -> tuple[NumberedSecurityGroup, ...]:
        """Return all security groups in order of their ids."""

    async def apply_address_group(self, group: AddressGroup, *, level: Level, deadline: float) -> AddressGroupApplied:
        """As `apply_security_group`, for the addresses of an address group."""

    async def delete_address_group(self, group_id: AddressGroupId, *, deadline: float) -> None:
        """Delete a group that no rule names. Raises NotFound, Refused (GROUP_IN_USE)."""

    def address_group(self, group_id: AddressGroupId) -> NumberedAddressGroup:
        """Raises NotFound."""

    def address_groups(self) -> tuple[NumberedAddressGroup, ...]:
        """Return all address groups in order of their ids."""

    async def app_counters(self, *, deadline: float) -> Mapping[str, int]:
        """Return what the counters of apps have counted, by `app.APP.COUNTER`; without what is not known in time."""

    def host(self) -> HostView:
        """Return what this host says of itself, now."""
