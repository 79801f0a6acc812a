"""The store of intents: an OVSDB database of our own schema. What is in it survives every crash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ofctl.model.confirmation import RequestRecord
from ofctl.model.ids import DeviceName, HostId, NetworkId, PortId, RequestId
from ofctl.model.network import Network, NumberedNetwork
from ofctl.model.port import Activation, Binding, PortSpec
from ofctl.ovsdb.values import ConnectionEvent

DEFAULT_REQUEST_LIMIT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Intents:
    """All that was intended for one host when the store was opened: complete, since it came as one reply."""

    networks: tuple[NumberedNetwork, ...]
    bindings: tuple[Binding, ...]
    requests: tuple[RequestRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBinding:
    """A binding that has no numbers yet."""

    spec: PortSpec
    device: DeviceName
    request_id: RequestId
    principal: str
    state_since_ms: int
    activation: Activation = Activation.ACTIVE


class IntentStore:
    """Networks, bindings and outcomes of requests, durable on return of each call.

    Coroutines belong to the event loop in which `start` ran; deadlines are instants of `loop.time()` in seconds.
    Writes raise Unavailable, DeadlineExceeded (nothing written) and OutcomeUnknown (sent, no answer).
    """

    def __init__(self, connection: str, *, host_id: HostId, request_limit: int = DEFAULT_REQUEST_LIMIT) -> None:
        """`connection` is an active OVSDB connection method, or several with commas for a cluster (ovsdb(7))."""

    @property
    def connected(self) -> bool:
        """Whether the replica is complete and follows the database."""
        raise NotImplementedError

    async def start(self, *, deadline: float) -> Intents:
        """Connect and return everything intended for this host. Raises Unavailable at the deadline."""
        raise NotImplementedError

    async def close(self) -> None:
        """End the thread; waiting calls fail. Safe to call again."""

    def subscribe(self, callback: Callable[[ConnectionEvent], None]) -> Callable[[], None]:
        """Call `callback` in the loop for each event from now on; return what ends that."""
        raise NotImplementedError

    async def put_network(self, network: Network, *, deadline: float) -> NumberedNetwork:
        """Create the network, with the lowest free index, or bring it to this content with the index it has."""
        raise NotImplementedError

    async def delete_network(self, network_id: NetworkId, *, deadline: float) -> None:
        """Delete a network; idempotent. Raises Refused (NETWORK_IN_USE) while a binding of any host uses it."""

    async def add_bindings(
        self, bindings: Sequence[NewBinding], request: RequestRecord | None, *, deadline: float
    ) -> tuple[Binding, ...]:
        """Allocate numbers and write all bindings and the record in one transaction, or nothing.

        A binding that is there already with the same spec, device and request id is returned as it is. Raises
        AlreadyExists (PORT_EXISTS, MAC_IN_USE), NotFound (network), ResourceExhausted.
        """
        raise NotImplementedError

    async def update_bindings(
        self, bindings: Sequence[Binding], request: RequestRecord | None, *, deadline: float
    ) -> None:
        """Write state, reason, confirmation, revision and the other columns of bindings that are there.

        Raises NotFound. Numbers and key do not change.
        """

    async def remove_bindings(
        self, keys: Sequence[tuple[PortId, HostId]], request: RequestRecord | None, *, deadline: float
    ) -> None:
        """Remove bindings; idempotent. Their numbers are free once the removal is durable."""

    async def put_request(self, record: RequestRecord, *, deadline: float) -> None:
        """Write the outcome of a request; the oldest records beyond the limit go."""
