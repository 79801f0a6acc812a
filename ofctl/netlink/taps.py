"""Makes a persistent TAP true. Blocking; for the worker's thread."""

from __future__ import annotations

import errno

from ofctl.errors import DeviceError, Refused
from ofctl.netlink import messages
from ofctl.netlink.kernel import step
from ofctl.netlink.links import Links, foreign, keep_host_silent, undo_deadline, verify
from ofctl.netlink.mark import OwnerMark
from ofctl.netlink.specs import DeviceState, Ensured, TapSpec
from ofctl.netlink.tun import NewTap, switch_tx_checksum_off

KIND = "tap"


def ensure_tap(links: Links, spec: TapSpec, mark: OwnerMark, *, tun_path: str, deadline: float) -> Ensured:
    """See `Devices.ensure_tap`."""
    existing = links.find_owned(spec.device, mark, deadline, take_over=KIND if spec.take_over else None)
    if existing is not None and not _is_convertible(existing, spec):
        if is_held(existing):
            raise Refused(
                f"the TAP {spec.device} is held open and must be made anew for another queue mode or owner; "
                "stop the program that has it open",
                reason="DEVICE_HELD",
                subject=spec.device,
            )
        links.delete([existing], deadline)
        existing = None
    if existing is not None:
        taken_over = existing.mark is None
        if taken_over:
            existing = links.take_over(existing, mark, deadline)
        return Ensured(state=_bring_to_spec(links, existing, spec, deadline), created=False, taken_over=taken_over)
    return Ensured(state=_create(links, spec, mark, tun_path, deadline), created=True)


def is_held(state: DeviceState) -> bool:
    """See `Devices.is_held`."""
    return state.kind == KIND and (state.carrier or bool(state.queues))


def _is_convertible(state: DeviceState, spec: TapSpec) -> bool:
    """Tell whether netlink can bring the device to spec. An owner cannot be taken back (TUNSETOWNER)."""
    return (
        state.kind == KIND
        and state.multi_queue == spec.multi_queue
        and state.owner_uid == spec.owner_uid
        and state.owner_gid == spec.owner_gid
    )


def _create(links: Links, spec: TapSpec, mark: OwnerMark, tun_path: str, deadline: float) -> DeviceState:
    """Make the TAP. The mark is on it before it is persistent: a crash in between takes the device with it."""
    try:
        tap = NewTap(spec.device, multi_queue=spec.multi_queue, tun_path=tun_path)
    except DeviceError as error:
        if error.metadata["errno"] == "EBUSY" and links.find(spec.device, deadline) is not None:
            raise foreign(spec.device) from error
        raise
    try:
        with step(f"set up the TAP {spec.device}", subject=spec.device):
            created = links.find(spec.device, deadline)
            if created is None:
                raise FileNotFoundError(errno.ENODEV, "the device is gone again")
            keep_host_silent(links.socket, created.ifindex, deadline)
            attrs: messages.Attributes = [("IFLA_IFALIAS", str(mark)), ("IFLA_MTU", spec.mtu)]
            if spec.mac is not None:
                attrs.append(("IFLA_ADDRESS", spec.mac))
            links.socket.transact(
                messages.set_link(ifindex=created.ifindex, attrs=attrs, up=True),
                deadline=deadline,
            )
            tap.set_owner(spec.owner_uid, spec.owner_gid)
            if spec.checksum_offload_off:
                switch_tx_checksum_off(links.socket.fileno(), spec.device)
            tap.set_persistent()
    finally:
        tap.close()
    try:
        return verify(links.at(created.ifindex, deadline), spec.device, mtu=spec.mtu, kind=KIND)
    except BaseException:
        links.delete([created], undo_deadline())
        raise


def _bring_to_spec(links: Links, state: DeviceState, spec: TapSpec, deadline: float) -> DeviceState:
    with step(f"bring the TAP {spec.device} to its specification", subject=spec.device):
        keep_host_silent(links.socket, state.ifindex, deadline)
        attrs: messages.Attributes = []
        if state.mtu != spec.mtu:
            attrs.append(("IFLA_MTU", spec.mtu))
        if spec.mac is not None and state.mac != spec.mac:
            attrs.append(("IFLA_ADDRESS", spec.mac))
        if attrs or not state.up:
            links.socket.transact(
                messages.set_link(ifindex=state.ifindex, attrs=attrs, up=True),
                deadline=deadline,
            )
        if spec.checksum_offload_off:
            switch_tx_checksum_off(links.socket.fileno(), spec.device)
    return verify(links.at(state.ifindex, deadline), spec.device, mtu=spec.mtu, kind=KIND)
