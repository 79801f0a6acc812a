"""The devices of a host's ports: persistent TAPs for VMs, veth pairs into namespaces.

Every device bears an owner mark (`ofctl.netlink.mark`) from before the moment at which it could outlive us, so a
kill -9 anywhere leaves nothing that we would later take for a foreign device.
"""

from __future__ import annotations

from types import TracebackType

from ofctl.model.ids import DeviceName, HostId, PortId
from ofctl.netlink.specs import DeviceState, Ensured, TapSpec, VethSpec

TUN_PATH = "/dev/net/tun"


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
        raise NotImplementedError

    async def ensure_veth(self, spec: VethSpec, *, deadline: float) -> Ensured:
        """Return when the pair exists as in `spec`, both ends and the namespace's loopback up, addresses usable.

        The state is the host end's. A pair whose peer is elsewhere or has another name is made anew. Addresses and
        routes that are missing are added; further ones are the consumer's own and are left.

        Raises InvalidField if the path is no network namespace; Refused with reason NETNS_IS_HOST (it is our own),
        DEVICE_FOREIGN, DEVICE_IN_USE, PEER_NAME_TAKEN or ROUTE_CONFLICT; DeviceError; DeadlineExceeded.
        """
        raise NotImplementedError

    async def remove(self, device: DeviceName, *, port_id: PortId | None, deadline: float) -> None:
        """Return when no device of that name bears our mark for this port; idempotent.

        A device that is foreign or another port's is left, without an error. `port_id` None means: of any port of
        this host (a leftover whose mark holds only a hash). Whether somebody holds the TAP open is not asked.
        Removals that wait at the same time go in one request: each costs the kernel about as much as all (16 ms).
        """
        raise NotImplementedError

    async def state(self, device: DeviceName, *, deadline: float) -> DeviceState | None:
        """Return the device as it is now, whoever owns it; None if there is none."""
        raise NotImplementedError

    async def is_held(self, device: DeviceName, *, deadline: float) -> bool:
        """Tell whether somebody has the TAP open. False for no device and for other kinds.

        The kernel puts the carrier of a TAP on with the first opener and off with the last (drivers/net/tun.c,
        tun_attach and __tun_detach); with multi-queue the number of queues is asked as well.
        """
        raise NotImplementedError

    async def owned(self, *, deadline: float) -> tuple[DeviceState, ...]:
        """Return every device here that bears our mark for a port of this host, leftovers included, by ifindex."""
        raise NotImplementedError

    async def carries_host_traffic(self, nic: str, *, deadline: float) -> str | None:
        """Return why `nic` must not become an uplink of the switch, or None if nothing of the host uses it.

        It has an address (IPv6 link-local apart) or a default route, or a device that is stacked on it (VLAN,
        bridge, bond) has. Raises NotFound if there is no such device.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Wait for the call that runs, close the sockets, end the thread. Safe to call again."""
        raise NotImplementedError
