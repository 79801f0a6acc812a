"""What the kernel may answer at each call: a DeviceError that names it, and nothing left."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ofctl.errors import DeadlineExceeded, DeviceError, Refused
from ofctl.model.ids import DeviceName, PortId
from ofctl.netlink import namespaces, taps, veths
from ofctl.netlink.devices import Devices, TapSpec
from tests.functional.netlink.conftest import HOST, Namespace, ip, link, names, run, soon
from tests.functional.netlink.edges import Edges, fail
from tests.functional.netlink.test_taps import SPEC, TAP
from tests.functional.netlink.test_veths import PORT, VETH, spec_in

NO_EDGE = 1000


async def test_a_fault_at_any_call_leaves_no_tap(devices: Devices, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Edges(NO_EDGE, lambda: None)
    with monkeypatch.context() as patched:
        counting.patch(patched.setattr)
        await devices.ensure_tap(SPEC, deadline=soon())
    await devices.remove(TAP, port_id=SPEC.port_id, deadline=soon())
    assert counting.count >= 8
    for position in range(1, counting.count + 1):
        with monkeypatch.context() as patched:
            Edges(position, fail(28)).patch(patched.setattr)
            with pytest.raises(DeviceError, match="No space left") as caught:
                await devices.ensure_tap(SPEC, deadline=soon())
        assert caught.value.metadata["errno"] == "ENOSPC"
        assert names() == {"lo"}, f"call {position}, {counting.names[position - 1]}"


async def test_a_fault_at_any_call_leaves_no_pair(
    devices: Devices, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Edges(NO_EDGE, lambda: None)
    with monkeypatch.context() as patched:
        counting.patch(patched.setattr)
        await devices.ensure_veth(spec_in(namespace), deadline=soon())
    await devices.remove(VETH, port_id=PORT, deadline=soon())
    assert counting.count >= 10
    for position in range(1, counting.count + 1):
        if counting.names[position - 1] == "ioctl" and counting.names[:position].count("ioctl") == 1:
            continue  # the question whether it is a network namespace: InvalidField
        with monkeypatch.context() as patched:
            Edges(position, fail(12)).patch(patched.setattr)
            with pytest.raises(DeviceError, match="memory") as caught:
                await devices.ensure_veth(spec_in(namespace), deadline=soon())
        assert caught.value.metadata["errno"] == "ENOMEM"
        assert names() == {"lo"}, f"call {position}, {counting.names[position - 1]}"


async def test_a_host_without_tun(netns: None, rundir: Path) -> None:
    async with Devices(HOST, tun_path=str(rundir / "tun")) as devices:
        with pytest.raises(DeviceError, match="kernel module tun") as caught:
            await devices.ensure_tap(SPEC, deadline=soon())
    assert caught.value.reason == "TUN_MISSING" and caught.value.metadata["errno"] == "ENOENT"


@pytest.mark.parametrize(("number", "name"), [(13, "EACCES"), (1, "EPERM")])
async def test_tun_is_not_open_to_us(devices: Devices, monkeypatch: pytest.MonkeyPatch, number: int, name: str) -> None:
    await devices.state(TAP, deadline=soon())
    with monkeypatch.context() as patched:
        # The first call asks netlink for the device, the second opens /dev/net/tun.
        Edges(2, fail(number)).patch(patched.setattr)
        with pytest.raises(DeviceError, match="0666") as caught:
            await devices.ensure_tap(SPEC, deadline=soon())
    assert caught.value.reason == "TUN_FORBIDDEN" and caught.value.metadata["errno"] == name


async def test_no_file_descriptor_is_left(devices: Devices, no_descriptors: None) -> None:
    with pytest.raises(DeviceError, match="LimitNOFILE") as caught:
        await devices.ensure_tap(SPEC, deadline=soon())
    assert caught.value.metadata["errno"] == "EMFILE"


@pytest.fixture
async def no_descriptors(devices: Devices) -> Iterator[None]:  # type: ignore[misc]
    """Use up the descriptors of this process, once the netlink socket is open."""
    await devices.state(TAP, deadline=soon())
    with descriptors_used_up():
        yield


@contextmanager
def descriptors_used_up() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


async def test_an_mtu_that_the_kernel_refuses(devices: Devices) -> None:
    with pytest.raises(DeviceError, match="mtu") as caught:
        await devices.ensure_tap(replace(SPEC, mtu=65535), deadline=soon())
    assert caught.value.metadata["errno"] == "EINVAL"
    assert names() == {"lo"}


async def test_a_foreign_device_that_comes_in_between(devices: Devices, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the creation somebody else takes the name: theirs stays as it is."""

    def intrude() -> None:
        run("ip", "tuntap", "add", TAP, "mode", "tap")

    with monkeypatch.context() as patched:
        Edges(3, intrude).patch(patched.setattr)  # the third meeting with the kernel is TUNSETIFF
        with pytest.raises(Refused) as caught:
            await devices.ensure_tap(SPEC, deadline=soon())
    assert caught.value.reason == "DEVICE_FOREIGN"
    assert "ifalias" not in link(TAP)


async def test_a_foreign_device_that_comes_before_the_rename(
    devices: Devices, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def intrude(*arguments: object) -> None:
        run("ip", "tuntap", "add", VETH, "mode", "tap")

    monkeypatch.setattr(veths, "keep_host_silent", intrude)
    with pytest.raises(Refused) as caught:
        await devices.ensure_veth(spec_in(namespace), deadline=soon())
    assert caught.value.reason == "DEVICE_FOREIGN"
    assert names() == {"lo", VETH} and "ifalias" not in link(VETH)
    assert [each["ifname"] for each in namespace.ip("link", "show")] == ["lo"]


async def test_a_namespace_that_we_may_not_enter(
    devices: Devices, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(namespaces, "enter", lambda netns: fail(1)())
        with pytest.raises(DeviceError, match="enter the network namespace") as caught:
            await devices.ensure_veth(spec_in(namespace), deadline=soon())
    assert caught.value.metadata["errno"] == "EPERM"
    assert names() == {"lo"}
    assert (await devices.ensure_veth(spec_in(namespace), deadline=soon())).created


async def test_no_thread_can_be_started(
    devices: Devices, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    await devices.state(VETH, deadline=soon())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(DeviceError, match="TasksMax") as caught:
            await devices.ensure_veth(spec_in(namespace), deadline=soon())
    assert caught.value.metadata["errno"] == "EAGAIN"
    assert names() == {"lo"}


async def test_a_deadline_in_the_past(devices: Devices, namespace: Namespace) -> None:
    with pytest.raises(DeadlineExceeded):
        await devices.ensure_tap(SPEC, deadline=soon(-1))
    with pytest.raises(DeadlineExceeded):
        await devices.ensure_veth(spec_in(namespace), deadline=soon(-1))
    assert await devices.owned(deadline=soon()) == ()


class Gate:
    """Stops the worker's thread inside a call, after the device was made."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()

    def __call__(self, state: object, *arguments: object, **named: object) -> object:
        self.reached.set()
        assert self.go.wait(5)
        return state


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_tap_that_nobody_waits_for_is_removed(
    devices: Devices, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    gate = Gate()
    monkeypatch.setattr(taps, "verify", gate)
    task = asyncio.create_task(devices.ensure_tap(SPEC, deadline=soon(5 if cancelled else 0.1)))
    assert await asyncio.to_thread(gate.reached.wait, 5)
    if cancelled:
        task.cancel()
    with pytest.raises(asyncio.CancelledError if cancelled else DeadlineExceeded):
        await task
    assert TAP in names()
    gate.go.set()
    assert await devices.owned(deadline=soon()) == ()


async def test_an_existing_tap_survives_a_caller_that_goes_away(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    await devices.ensure_tap(SPEC, deadline=soon())
    gate = Gate()
    monkeypatch.setattr(taps, "verify", gate)
    task = asyncio.create_task(devices.ensure_tap(SPEC, deadline=soon()))
    assert await asyncio.to_thread(gate.reached.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.go.set()
    assert [state.device for state in await devices.owned(deadline=soon())] == [TAP]


async def test_a_later_tap_is_not_taken_by_an_earlier_removal(devices: Devices) -> None:
    """Removals that wait go together, and never overtake or swallow an ensure."""
    spec = TapSpec(device=DeviceName("tap-2"), port_id=PortId("port-2"), mtu=1400)
    await devices.ensure_tap(SPEC, deadline=soon())
    await devices.ensure_tap(spec, deadline=soon())
    await asyncio.gather(
        devices.remove(TAP, port_id=SPEC.port_id, deadline=soon()),
        devices.remove(spec.device, port_id=spec.port_id, deadline=soon()),
        devices.ensure_tap(SPEC, deadline=soon()),
        devices.remove(spec.device, port_id=spec.port_id, deadline=soon()),
        devices.ensure_tap(spec, deadline=soon()),
        devices.remove(spec.device, port_id=spec.port_id, deadline=soon()),
    )
    assert [state.device for state in await devices.owned(deadline=soon())] == [TAP]
    assert ip("link", "show", "dev", TAP)
