"""What a binder is to the engine: something outside of the host that must be ready before a port is confirmed.

Part of the public contract of apps (docs/plugins.md); import it from `ofctl.plugin`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ofctl.model.ids import DeviceName, HostId, MacAddress, PortId
from ofctl.model.network import IpAddress, Network
from ofctl.pipeline.annotations import annotations_of
from ofctl.pipeline.app import App


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundPort:
    """A port as a binder sees it."""

    port_id: PortId
    network: Network
    """With type, segmentation id and physical network."""
    mac_address: MacAddress
    fixed_ips: tuple[IpAddress, ...]
    mtu: int
    device: DeviceName
    device_id: str
    annotations: tuple[tuple[str, str], ...]
    """Of all apps, with whole keys."""

    def annotations_of(self, app: str) -> dict[str, str]:
        """Return one app's annotations by their own names."""
        return annotations_of(app, self.annotations)


class NotBound(Exception):
    """Raised by `bind`: nothing reached what is outside, so there is nothing to unbind. The call may be tried again."""


class Binder(App, ABC):
    """Takes part in the binding of ports: a top-of-rack switch, an external IPAM, a firewall.

    All coroutines run in the agent's event loop: they must await, never block. They are cancelled when the time is up
    that `[apps] bind_timeout_s`, or the call's own deadline, leaves them.

    Calls for one port never overlap. Both `bind` and `unbind` are idempotent, because both are called again: `bind`
    for a port that is bound at every start of the agent, for a repeated plug, and when a port is mended; `unbind` for
    a port that may never have been bound, since an answer was lost.
    """

    async def open(self) -> None:
        """Prepare at the start of the agent; called once, before the first `bind`. An error refuses the start.

        What the binder talks to need not be there yet: a port that needs it fails, or waits, by itself.
        """

    async def close(self) -> None:
        """Let go of everything when the agent stops. Nothing is unbound: the ports stay."""

    @abstractmethod
    async def bind(self, port: BoundPort, host: HostId) -> None:
        """Return when what is outside is ready for the port on the host; only then PlugPort confirms it.

        Raise `ofctl.errors.Refused` for what is answered with no (the plug fails with FAILED_PRECONDITION), anything
        else, OSError above all, for what is out of order (UNAVAILABLE: the call may be tried again). After whatever
        was raised `unbind` is called, and the plug is not over before that returns; only after NotBound it is not.
        """

    @abstractmethod
    async def unbind(self, port: BoundPort, host: HostId) -> None:
        """Return when nothing outside is left of the port. Whatever is raised, it is called again until it returns."""
