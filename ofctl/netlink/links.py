"""Devices as the kernel lists them: find, own, bring up, delete. Blocking; for one thread."""

from __future__ import annotations

import errno
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace

from ofctl.errors import DeviceError, Refused
from ofctl.model.ids import DeviceName
from ofctl.netlink import messages
from ofctl.netlink.kernel import step
from ofctl.netlink.mark import OwnerMark
from ofctl.netlink.rtnl import KernelError, Request, RouteSocket, first_payload
from ofctl.netlink.specs import DeviceState

UNDO_S = 5.0


class Links:
    """The devices of the network namespace in which the first call finds the calling thread."""

    def __init__(self) -> None:
        self._socket: RouteSocket | None = None

    @property
    def socket(self) -> RouteSocket:
        """The route netlink socket, opened when first asked for. Raises OSError."""
        if self._socket is None:
            self._socket = RouteSocket()
        return self._socket

    def close(self) -> None:
        """Close the socket; the next call opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def find(self, device: str, deadline: float) -> DeviceState | None:
        """Return the device of that name, None if there is none. Raises DeviceError."""
        return self._get(messages.get_link(device=device), device, deadline)

    def at(self, ifindex: int, deadline: float) -> DeviceState | None:
        """Return the device of that index, None if there is none. Raises DeviceError."""
        return self._get(messages.get_link(ifindex=ifindex), f"device {ifindex}", deadline)

    def all(self, deadline: float) -> list[DeviceState]:
        """Return all devices in order of their index. Raises DeviceError."""
        with step("list the devices", subject=""):
            payloads = self.socket.dump(messages.all_links(), deadline=deadline)
        return sorted((messages.read_link(payload) for payload in payloads), key=lambda state: state.ifindex)

    def find_owned(
        self, device: DeviceName, mark: OwnerMark, deadline: float, *, take_over: str | None = None
    ) -> DeviceState | None:
        """Return the device if it bears `mark`, None if there is none. Raises Refused if it is somebody else's.

        One without any mark is returned too if it is of the kind `take_over`.
        """
        state = self.find(device, deadline)
        if state is None or state.mark == mark:
            return state
        if state.mark is None:
            if state.kind == take_over:
                return state
            raise foreign(device)
        raise Refused(
            f"the device {device} belongs to another port ({state.alias}); choose another name or unplug that port",
            reason="DEVICE_IN_USE",
            subject=device,
            metadata={"owner": state.alias},
        )

    def take_over(self, state: DeviceState, mark: OwnerMark, deadline: float) -> DeviceState:
        """Put our mark on a device and take it down; return its state. Raises DeviceError.

        Down, so that the addresses that the host's IPv6 stack may have given it are gone when it comes up again.
        """
        attrs: messages.Attributes = [("IFLA_IFALIAS", str(mark))]
        with step(f"take over {state.device}", subject=state.device):
            keep_host_silent(self.socket, state.ifindex, deadline)
            self.socket.transact(messages.set_link(ifindex=state.ifindex, attrs=attrs, up=False), deadline=deadline)
        return replace(state, alias=str(mark), up=False)

    def delete(self, states: Sequence[DeviceState], deadline: float) -> None:
        """Delete devices; those that are gone already are no error. Raises DeviceError.

        Several go by way of a group of their own: unregistering waits for RCU grace periods, 16 ms however many
        devices one request deletes (measured: 50 pairs 0.8 s one by one, 27 ms in one group).
        """
        subject = ", ".join(state.device for state in states)
        with step(f"delete {subject}", subject=subject):
            if len(states) == 1:
                self._tolerate_absence(messages.delete_link(ifindex=states[0].ifindex), deadline)
            elif states:
                group = secrets.randbelow(2**31 - 2**16) + 2**16
                for state in states:
                    request = messages.set_link(ifindex=state.ifindex, attrs=[("IFLA_GROUP", group)])
                    self._tolerate_absence(request, deadline)
                self._tolerate_absence(messages.delete_link(group=group), deadline)

    def _tolerate_absence(self, request: Request, deadline: float) -> None:
        try:
            self.socket.transact(request, deadline=deadline)
        except KernelError as error:
            if error.errno != errno.ENODEV:
                raise

    def _get(self, request: Request, subject: str, deadline: float) -> DeviceState | None:
        with step(f"look at {subject}", subject=subject):
            try:
                answers = self.socket.transact(request, deadline=deadline)
            except KernelError as error:
                if error.errno == errno.ENODEV:
                    return None
                raise
        return messages.read_link(first_payload(answers, 0))


def undo_deadline() -> float:
    """Return until when what was begun may be undone: that must not fail because the call's own time is over."""
    return time.monotonic() + UNDO_S


def foreign(device: str) -> Refused:
    """Return the refusal of a name that somebody else's device has."""
    return Refused(
        f"a device named {device} exists already and was not made by ofctl; choose another name or remove it",
        reason="DEVICE_FOREIGN",
        subject=device,
    )


def keep_host_silent(socket: RouteSocket, ifindex: int, deadline: float) -> None:
    """Keep the host's IPv6 stack off a device. A kernel without IPv6 needs and has no such thing. Raises OSError."""
    try:
        socket.transact(messages.no_link_local(ifindex=ifindex), deadline=deadline)
    except KernelError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise


def verify(state: DeviceState | None, device: str, *, mtu: int, kind: str) -> DeviceState:
    """Return the state if it is what was asked for; raises DeviceError naming what is not."""
    if state is None:
        wrong = "it is gone again"
    elif state.kind != kind:
        wrong = f"it is a {state.kind}, not a {kind}"
    elif state.mtu != mtu:
        wrong = f"its MTU is {state.mtu}, not {mtu}"
    elif not state.up:
        wrong = "it is down"
    else:
        return state
    raise DeviceError(
        f"the kernel accepted {device}, but {wrong}: somebody else changes it", subject=device, metadata={"errno": ""}
    )
