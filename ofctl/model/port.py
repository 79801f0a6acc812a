"""A port as compute describes it, and its binding to a host."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

from ofctl.errors import InvalidField
from ofctl.model.confirmation import Confirmation
from ofctl.model.ids import (
    MAX_NAME_LENGTH,
    DeviceName,
    HostId,
    MacAddress,
    NetworkId,
    PortId,
    PortIndex,
    RequestId,
    device_name,
    identifier,
    mac_address,
)
from ofctl.model.network import MAX_MTU, MIN_MTU, IpAddress, IpInterface, IpNetwork
from ofctl.model.security import MAX_ADDRESS_PAIRS, MAX_GROUPS_OF_PORT, AddressPair, SecurityGroupId

MAX_LABELS = 64
MAX_ANNOTATIONS = 64
MAX_ANNOTATION_LENGTH = 1024


class VifType(enum.Enum):
    """What compute gets to attach its guest to; the last two are reserved."""

    TAP = "tap"
    VETH = "veth"
    VHOST_USER = "vhost_user"
    REPRESENTOR = "representor"


class Activation(enum.Enum):
    """Whether a binding carries traffic; STANDBY is reserved for live migration."""

    ACTIVE = "active"
    STANDBY = "standby"


class Recovery(enum.Enum):
    """What happens to a plug that fails: everything it made is removed, or the reconciler keeps trying."""

    ROLL_BACK = "roll_back"
    KEEP_TRYING = "keep_trying"


class PortState(enum.Enum):
    """State of a binding."""

    BUILD = "build"
    ACTIVE = "active"
    DEGRADED = "degraded"
    DOWN = "down"
    ERROR = "error"
    REMOVING = "removing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route inside the consumer's namespace. `via` is None for a route on the link."""

    destination: IpNetwork
    via: IpAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VmConsumer:
    """A virtual machine monitor opens the TAP. `owner_uid` and `owner_gid` may open it without CAP_NET_ADMIN."""

    owner_uid: int | None = None
    owner_gid: int | None = None
    multi_queue: bool = False

    def __post_init__(self) -> None:
        for name, number in (("owner_uid", self.owner_uid), ("owner_gid", self.owner_gid)):
            if number is not None and not 0 <= number < 2**32 - 1:
                raise InvalidField(f"port.vm.{name}", f"is {number}; it must be 0 to 4294967294")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceConsumer:
    """A network namespace, of a container or not, gets one end of a veth pair."""

    netns_path: str
    """Absolute path that can be opened for setns(2), such as /run/netns/NAME or /proc/PID/ns/net."""
    interface_name: DeviceName = DeviceName("eth0")
    addresses: tuple[IpInterface, ...] = ()
    """With prefix length; empty means the port's fixed addresses with the prefix of their subnets."""
    routes: tuple[Route, ...] = ()
    container: bool = False

    def __post_init__(self) -> None:
        where = "port.container" if self.container else "port.namespace"
        if not self.netns_path.startswith("/") or "\0" in self.netns_path:
            raise InvalidField(
                f"{where}.netns_path", f"{self.netns_path!r} is no absolute path, such as /run/netns/NAME"
            )
        device_name(self.interface_name, f"{where}.interface_name")
        if self.interface_name == "lo":
            raise InvalidField(f"{where}.interface_name", "is 'lo', the loopback of the namespace; choose another")


Consumer = VmConsumer | NamespaceConsumer


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSpec:
    """What compute asks for. Construction validates what can be told without the host: raises InvalidField.

    `mac_address`, `mtu` and `requested_device` may be None: `ofctl.engine.admission` fills them in, and a spec that
    was admitted has none of them None (`requested_device` stays as requested; the binding has the real name).
    """

    port_id: PortId
    network_id: NetworkId
    host_id: HostId
    consumer: Consumer
    project_id: str = ""
    device_id: str = ""
    device_owner: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    """Sorted by key."""
    annotations: tuple[tuple[str, str], ...] = ()
    """What apps add to a port, sorted by key, which is APP/FIELD; the app judges the value."""
    mac_address: MacAddress | None = None
    fixed_ips: tuple[IpAddress, ...] = ()
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    """What the guest may use as its own besides its MAC address and fixed addresses."""
    port_security: bool | None = None
    """Whether the sender is checked; None: as the network says."""
    security_groups: tuple[SecurityGroupId, ...] = ()
    """Groups that filter the port; none: it is not filtered. All stateful, or all stateless."""
    mtu: int | None = None
    """Bytes; at most the network's MTU, which is the default."""
    requested_device: DeviceName | None = None
    vif_types: frozenset[VifType] = frozenset()
    """VIF types that the caller can use; empty means any."""
    recovery: Recovery = Recovery.ROLL_BACK

    def __post_init__(self) -> None:
        identifier(self.port_id, "port.port_id")
        identifier(self.network_id, "port.network_id")
        identifier(self.host_id, "port.host_id")
        for name, text in (
            ("project_id", self.project_id),
            ("device_id", self.device_id),
            ("device_owner", self.device_owner),
        ):
            if len(text) > MAX_NAME_LENGTH:
                raise InvalidField(f"port.{name}", f"has {len(text)} characters; at most {MAX_NAME_LENGTH} are allowed")
        self._check_labels()
        self._check_annotations()
        if self.mac_address is not None:
            mac_address(self.mac_address, "port.mac_address")
        if self.mtu is not None and not MIN_MTU <= self.mtu <= MAX_MTU:
            raise InvalidField("port.mtu", f"is {self.mtu}; it must be {MIN_MTU} to {MAX_MTU} bytes")
        if self.requested_device is not None:
            device_name(self.requested_device, "port.device_name")
        for number, address in enumerate(self.fixed_ips):
            if address in self.fixed_ips[:number]:
                raise InvalidField(f"port.fixed_ips[{number}]", f"{address} is given twice")
        self._check_security()

    def _check_security(self) -> None:
        for name, values, most in (
            ("allowed_address_pairs", self.allowed_address_pairs, MAX_ADDRESS_PAIRS),
            ("security_groups", self.security_groups, MAX_GROUPS_OF_PORT),
        ):
            if len(values) > most:
                raise InvalidField(f"port.{name}", f"has {len(values)} entries; at most {most} are allowed")
            for number, value in enumerate(values):
                if value in values[:number]:
                    raise InvalidField(f"port.{name}[{number}]", "is given twice")
        for number, pair in enumerate(self.allowed_address_pairs):
            pair.check(f"port.allowed_address_pairs[{number}]")
        for number, group in enumerate(self.security_groups):
            identifier(group, f"port.security_groups[{number}]")

    def _check_labels(self) -> None:
        if len(self.labels) > MAX_LABELS:
            raise InvalidField("port.labels", f"has {len(self.labels)} entries; at most {MAX_LABELS} are allowed")
        for key, value in self.labels:
            if not key or len(key) > MAX_NAME_LENGTH or len(value) > MAX_NAME_LENGTH:
                raise InvalidField(
                    f"port.labels[{key!r}]", f"key (not empty) and value have at most {MAX_NAME_LENGTH} characters"
                )

    def _check_annotations(self) -> None:
        if len(self.annotations) > MAX_ANNOTATIONS:
            raise InvalidField(
                "port.annotations", f"has {len(self.annotations)} entries; at most {MAX_ANNOTATIONS} are allowed"
            )
        for key, value in self.annotations:
            app, slash, name = key.partition("/")
            if not app or not slash or not name or len(key) > MAX_NAME_LENGTH:
                raise InvalidField(f"port.annotations[{key!r}]", "is not named APP/FIELD, as an app declares it")
            if len(value) > MAX_ANNOTATION_LENGTH:
                raise InvalidField(
                    f"port.annotations[{key!r}]",
                    f"has {len(value)} characters; at most {MAX_ANNOTATION_LENGTH} are allowed",
                )

    @property
    def vif_type(self) -> VifType:
        """The VIF type that this host gives to such a consumer."""
        return VifType.TAP if isinstance(self.consumer, VmConsumer) else VifType.VETH


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingNumbers:
    """Numbers that the pipeline knows a binding by; allocated with the intent and the same after a restart."""

    index: PortIndex
    slot: int
    """Place of the port in its network's flood groups, 0 upwards, dense."""
    zone: int = 0
    """Connection tracking zone, of nobody else on the host; 0: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The intent that a port be plugged on a host. The key is (port, host)."""

    spec: PortSpec
    device: DeviceName
    numbers: BindingNumbers
    activation: Activation = Activation.ACTIVE
    state: PortState = PortState.BUILD
    state_reason: str = ""
    """UPPER_SNAKE word, empty for ACTIVE."""
    state_since_ms: int = 0
    request_id: RequestId = RequestId("")
    principal: str = ""
    """Who plugged: `uid:N` from the unix socket's peer credentials, or the TLS common name."""
    revision: int = 1
    generation: int = 0
    """The greatest generation that a plug, unplug or update of this port had; 0: none had one."""
    former_ips: tuple[IpAddress, ...] = ()
    """While an update is under way, the fixed addresses that it takes away: a namespace may still have them."""
    confirmation: Confirmation | None = field(default=None, compare=False)

    @property
    def port_id(self) -> PortId:
        return self.spec.port_id

    @property
    def network_id(self) -> NetworkId:
        return self.spec.network_id

    @property
    def mac_address(self) -> MacAddress:
        """The MAC address of the guest; an admitted spec always has one."""
        assert self.spec.mac_address is not None
        return self.spec.mac_address

    @property
    def mtu(self) -> int:
        """The MTU of the port's device in bytes; an admitted spec always has one."""
        assert self.spec.mtu is not None
        return self.spec.mtu

    def in_state(self, state: PortState, reason: str, *, at_ms: int) -> Binding:
        """Return this binding in another state."""
        return replace(self, state=state, state_reason=reason, state_since_ms=at_ms, revision=self.revision + 1)
