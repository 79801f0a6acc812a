"""The devices of a host's ports: persistent TAPs for VMs, veth pairs into namespaces.

Every device bears an owner mark (`ofctl.netlink.mark`) from before the moment at which it could outlive us, so a
kill -9 anywhere leaves nothing that we would later take for a foreign device.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType

from ofctl.errors import DeviceError
from ofctl.model.ids import DeviceName, HostId, PortId
from ofctl.netlink.kernel import step
from ofctl.netlink.link_watch import LinkChange, LinkEvent, LinkEventsLost, LinkEventSocket, LinkWatch
from ofctl.netlink.links import Links, undo_deadline
from ofctl.netlink.mark import OwnerMark
from ofctl.netlink.specs import DeviceState, Ensured, TapSpec, VethSpec, tap_mac
from ofctl.netlink.taps import ensure_tap, is_held
from ofctl.netlink.traffic import host_traffic
from ofctl.netlink.veths import ensure_veth
from ofctl.netlink.worker import Worker

__all__ = [
    "DeviceState",
    "Devices",
    "Ensured",
    "LinkChange",
    "LinkEvent",
    "LinkEventsLost",
    "TapSpec",
    "VethSpec",
    "tap_mac",
]

TUN_PATH = "/dev/net/tun"
RELIST_S = 10.0


class _Removal:
    """A device that waits to be removed. `epoch` counts the `ensure` calls before it."""

    def __init__(self, device: DeviceName, mark: OwnerMark | None, epoch: int) -> None:
        self.device = device
        self.mark = mark
        self.epoch = epoch
        self.wanted = True
        self.done = False


class Devices:
    """Makes, inspects and removes the devices of one host's ports.

    All calls are safe to make concurrently from one event loop; they run one after the other in one thread of their
    own. That thread, and with it every socket and TAP, belongs to the network namespace in which the thread that
    makes the *first call* stands at that moment (setns(2) moves a thread, not its sockets, and not other threads).

    Deadlines are instants of `loop.time()`. A call that passes its deadline raises DeadlineExceeded, and one that is
    cancelled CancelledError; what it made is then removed in the background, before any later call runs.
    """

    def __init__(self, host_id: HostId, *, tun_path: str = TUN_PATH) -> None:
        self.host_id = host_id
        self.tun_path = tun_path
        self._links = Links()
        self._worker = Worker("ofctl-netlink")
        self._removals: deque[_Removal] = deque()
        self._epoch = 0
        self._closed = False
        self._watch: LinkWatch | None = None
        self._subscribers: list[Callable[[LinkEvent], None]] = []

    async def __aenter__(self) -> Devices:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def ensure_tap(self, spec: TapSpec, *, deadline: float) -> Ensured:
        """Return when the persistent TAP exists as in `spec`, and is up.

        One that is ours and differs in MTU, address or offload is brought to spec; one that differs in kind, queue
        mode or owner is made anew. Nothing that this call made is left when it fails.

        Raises Refused with reason DEVICE_FOREIGN (a device without our mark has the name), DEVICE_IN_USE (the mark
        of another port) or DEVICE_HELD (must be made anew, and somebody has it open); DeviceError (metadata `errno`)
        when the kernel refuses; DeadlineExceeded.
        """
        self._epoch += 1
        mark = OwnerMark.of(self.host_id, spec.port_id)
        return await self._worker.run(
            lambda until: ensure_tap(self._links, spec, mark, tun_path=self.tun_path, deadline=until),
            doing=f"make the TAP {spec.device}",
            deadline=deadline,
            undo=self._undo,
        )

    async def ensure_veth(self, spec: VethSpec, *, deadline: float) -> Ensured:
        """Return when the pair exists as in `spec`, both ends and the namespace's loopback up, addresses usable.

        The state is the host end's. A pair whose peer is elsewhere or has another name is made anew. Addresses and
        routes that are missing are added, `former_addresses` taken away; further ones are the consumer's own and left.

        Raises InvalidField if the path is no network namespace; Refused with reason NETNS_IS_HOST (it is our own),
        DEVICE_FOREIGN, DEVICE_IN_USE, PEER_NAME_TAKEN or ROUTE_CONFLICT; DeviceError; DeadlineExceeded.
        """
        self._epoch += 1
        mark = OwnerMark.of(self.host_id, spec.port_id)
        return await self._worker.run(
            lambda until: ensure_veth(self._links, spec, mark, deadline=until),
            doing=f"make the veth pair {spec.device}",
            deadline=deadline,
            undo=self._undo,
        )

    async def remove(self, device: DeviceName, *, port_id: PortId | None, deadline: float) -> None:
        """Return when no device of that name bears our mark for this port; idempotent.

        A device that is foreign or another port's is left, without an error. `port_id` None means: of any port of
        this host (a leftover whose mark holds only a hash). Whether somebody holds the TAP open is not asked.
        Removals that wait at the same time go in one request: each costs the kernel about as much as all (16 ms).
        """
        mark = None if port_id is None else OwnerMark.of(self.host_id, port_id)
        removal = _Removal(device, mark, self._epoch)
        self._removals.append(removal)
        try:
            await self._worker.run(
                lambda until: self._remove_waiting(removal, until), doing=f"remove {device}", deadline=deadline
            )
        finally:
            removal.wanted = False

    async def state(self, device: DeviceName, *, deadline: float) -> DeviceState | None:
        """Return the device as it is now, whoever owns it; None if there is none."""
        return await self._worker.run(
            lambda until: self._links.find(device, until), doing=f"look at {device}", deadline=deadline
        )

    async def is_held(self, device: DeviceName, *, deadline: float) -> bool:
        """Tell whether somebody has the TAP open. False for no device and for other kinds.

        The kernel puts the carrier of a TAP on with the first opener and off with the last (drivers/net/tun.c,
        tun_attach and __tun_detach); with multi-queue the number of queues is asked as well.
        """
        state = await self.state(device, deadline=deadline)
        return state is not None and is_held(state)

    async def owned(self, *, deadline: float) -> tuple[DeviceState, ...]:
        """Return every device here that bears our mark for a port of this host, leftovers included, by ifindex."""
        states = await self._worker.run(self._links.all, doing="list the devices", deadline=deadline)
        return tuple(state for state in states if state.mark is not None and state.mark.is_of_host(self.host_id))

    async def carries_host_traffic(self, nic: str, *, deadline: float) -> str | None:
        """Return why `nic` must not become an uplink of the switch, or None if nothing of the host uses it.

        It has an address (IPv6 link-local apart) or a default route, or a device that is stacked on it (VLAN,
        bridge, bond) has. Raises NotFound if there is no such device.
        """
        return await self._worker.run(
            lambda until: host_traffic(self._links, nic, until),
            doing=f"look for the host's traffic on {nic}",
            deadline=deadline,
        )

    def watch(self, callback: Callable[[LinkEvent], None]) -> Callable[[], None]:
        """Call `callback` in the loop for each change of any device, ours or not; return what ends that.

        Nothing is heard before `start_watching`. The callback must not block and must not raise. Changes come in the
        order in which the kernel made them, those that we made included.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback) if callback in self._subscribers else None

    async def start_watching(self, *, deadline: float) -> None:
        """Return when changes are heard: what is asked of `state` or `owned` after this misses none. To call once.

        Raises DeviceError if the kernel gives no socket, DeadlineExceeded.
        """

        def begin(until: float) -> tuple[LinkEventSocket, list[DeviceState]]:
            with step("listen to the changes of devices", subject=""):
                events = LinkEventSocket()
            try:
                return events, self._links.all(until)
            except BaseException:
                events.close()
                raise

        events, states = await self._worker.run(
            begin, doing="listen to the changes of devices", deadline=deadline, undo=lambda made: made[0].close()
        )
        self._watch = LinkWatch(events, states, self._deliver, self._relist)

    def _deliver(self, event: LinkEvent) -> None:
        for callback in tuple(self._subscribers):
            callback(event)

    async def _relist(self) -> list[DeviceState]:
        deadline = asyncio.get_running_loop().time() + RELIST_S
        return await self._worker.run(self._links.all, doing="list the devices", deadline=deadline)

    async def close(self) -> None:
        """Wait for the call that runs, close the sockets, end the thread. Safe to call again."""
        if not self._closed:
            self._closed = True
            if self._watch is not None:
                await self._watch.close()
            await self._worker.close(self._links.close)

    def _undo(self, ensured: Ensured) -> None:
        if ensured.created:
            self._links.delete([ensured.state], undo_deadline())

    def _remove_waiting(self, removal: _Removal, deadline: float) -> None:
        """Remove the device of `removal` together with all that wait, but none that a later `ensure` may make."""
        if not removal.done:
            batch = [removal]
            while self._removals and self._removals[0].epoch <= removal.epoch:
                other = self._removals.popleft()
                if other is not removal and other.wanted:
                    batch.append(other)
            self._remove(batch, deadline)

    def _remove(self, batch: list[_Removal], deadline: float) -> None:
        """Delete what the batch means and see that it is gone. After an error each tries again by itself."""
        doomed = [state for each in batch if (state := self._doomed(each, deadline)) is not None]
        self._links.delete(doomed, deadline)
        for each in batch:
            if self._doomed(each, deadline) is not None:
                raise DeviceError(
                    f"the kernel deleted {each.device}, and it is there again",
                    subject=each.device,
                    metadata={"errno": "EEXIST", "device": each.device},
                )
        for each in batch:
            each.done = True

    def _doomed(self, removal: _Removal, deadline: float) -> DeviceState | None:
        state = self._links.find(removal.device, deadline)
        if state is None or state.mark is None:
            return None
        ours = state.mark.is_of_host(self.host_id) if removal.mark is None else state.mark == removal.mark
        return state if ours else None
