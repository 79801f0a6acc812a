"""One port of an operation, and what the stages have found out about it so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from ofctl.engine.inventory import Key
from ofctl.model.confirmation import ProbeFrame, StageTiming
from ofctl.model.ids import DeviceName, OfPort
from ofctl.model.network import NumberedNetwork
from ofctl.model.port import Binding, PortSpec
from ofctl.netlink.specs import DeviceState
from ofctl.openflow.switch import Receipt
from ofctl.ovsdb.intents import NewBinding


@dataclass
class PortWork:
    """Belongs to one operation, or to one look at the port."""

    spec: PortSpec
    """Admitted: MAC address and MTU are set."""
    device: DeviceName
    network: NumberedNetwork
    existed: bool
    """The port was plugged before this operation, which so must not remove it."""
    draft: NewBinding | None = None
    """What becomes the binding; None if it is there already."""
    binding: Binding | None = None
    before: Binding | None = None
    """What an update began with, which it goes back to, and as which the port is shown until the update is over."""
    state: DeviceState | None = None
    fresh: bool = False
    """The device was made by this operation and the switch has not seen it yet."""
    doubted: bool = False
    """The switch was lost since the row was right: it must say again that it has the port."""
    ofport: OfPort | None = None
    receipt: Receipt | None = None
    flows: tuple[int, str] = (0, "")
    """How many flows the port depends on, and their digest."""
    called_binders: set[str] | None = None
    """The binders that may have the port; None before the first stage that asks."""
    mending: bool = False
    """A device of that name without our mark is taken over: somebody has made it anew by hand."""
    timings: list[StageTiming] = field(default_factory=list)
    frames: tuple[ProbeFrame, ...] = ()
    """What was sent to show that the port works."""
    note: str = ""
    """Why less was shown than was asked for."""

    @property
    def key(self) -> Key:
        return (self.spec.port_id, self.spec.host_id)

    @property
    def principal(self) -> str:
        """Who plugged the port, or is doing so."""
        return self.binding.principal if self.binding is not None else self.draft.principal if self.draft else ""

    @property
    def shown(self) -> Binding | None:
        """The binding as everybody may see it now."""
        return self.before or self.binding

    @property
    def present(self) -> Binding:
        """The binding; only from the stage on that makes it durable."""
        assert self.binding is not None
        return self.binding
