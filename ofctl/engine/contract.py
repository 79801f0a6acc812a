"""What the engine offers to the northbound API: requests, replies and the calls. No OVS word in here.

Deadlines are instants of the running event loop's clock (`loop.time()`), in seconds, and are those at which the
*reply* must be ready; the caller of the engine has subtracted the reserve that carrying the reply needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ofctl.model.confirmation import Level, RequestRecord
from ofctl.model.host import HostView
from ofctl.model.ids import HostId, NetworkId, PortId, RequestId
from ofctl.model.network import Network, NumberedNetwork
from ofctl.model.port import PortSpec
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


@dataclass(frozen=True, slots=True, kw_only=True)
class UnplugRequest:
    """Remove a port from a host. `force`: even while somebody holds its TAP open."""

    port_id: PortId
    host_id: HostId
    principal: str
    admin: bool
    deadline: float
    force: bool = False


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

    def port(self, port_id: PortId, host_id: HostId) -> PluggedPort:
        """Return the port as it is known now, in whatever state. Raises NotFound."""

    def request(self, request_id: RequestId) -> RequestRecord:
        """Return the outcome of an earlier PlugPort. Raises NotFound."""

    def ports(self) -> tuple[PluggedPort, ...]:
        """Return all ports in order of (port id, host id)."""

    async def apply_network(self, network: Network, *, deadline: float) -> NumberedNetwork:
        """Create the network or make it as given; return when that is durable and confirmed by the switch."""

    async def delete_network(self, network_id: NetworkId, *, deadline: float) -> None:
        """Delete a network that no port uses. Raises NotFound, Refused."""

    def network(self, network_id: NetworkId) -> NumberedNetwork:
        """Raises NotFound."""

    def networks(self) -> tuple[NumberedNetwork, ...]:
        """Return all networks in order of their ids."""

    def host(self) -> HostView:
        """Return what this host says of itself, now."""
