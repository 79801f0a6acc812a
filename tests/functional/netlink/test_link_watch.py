"""What is heard of devices when somebody changes them by hand: ip(8) does it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from ofctl.model.ids import DeviceName, MacAddress, PortId
from ofctl.netlink.devices import Devices, LinkChange, LinkEvent, LinkEventsLost, TapSpec
from ofctl.netlink.link_watch import LinkEventSocket, LinkWatch
from tests.functional.netlink.conftest import Namespace, run, soon
from tests.functional.netlink.tap import Holder

TAP = DeviceName("tap-1")
SPEC = TapSpec(device=TAP, port_id=PortId("port-1"), mtu=1400, mac=MacAddress("fe:54:00:00:00:01"))


class Heard:
    """What was heard, in order."""

    def __init__(self) -> None:
        self.events: list[LinkEvent] = []
        self._news = asyncio.Event()

    def __call__(self, event: LinkEvent) -> None:
        self.events.append(event)
        self._news.set()

    @property
    def changes(self) -> list[LinkChange]:
        return [event for event in self.events if isinstance(event, LinkChange)]

    def of(self, device: str) -> list[LinkChange]:
        return [change for change in self.changes if change.device == device]

    async def until(self, seen: Callable[[], object]) -> None:
        """Return when `seen` is true; fail with what was heard after some seconds."""
        try:
            async with asyncio.timeout(5):
                while not seen():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"heard only {self.events}") from None

    async def everything(self) -> None:
        """Return when what was done before has been heard: a device is made, and heard of."""
        run("ip", "link", "add", "marker", "type", "veth")
        await self.until(lambda: self.of("marker"))


@pytest.fixture
async def heard(devices: Devices) -> AsyncIterator[Heard]:
    """What is heard from when a TAP of ours was there already."""
    await devices.ensure_tap(SPEC, deadline=soon())
    made = Heard()
    end = devices.watch(made)
    await devices.start_watching(deadline=soon())
    yield made
    end()
    end()


async def test_a_deletion(heard: Heard, devices: Devices) -> None:
    state = await devices.state(TAP, deadline=soon())
    assert state is not None
    run("ip", "link", "delete", TAP)
    await heard.everything()
    assert heard.of(TAP)[-1] == LinkChange(TAP, None, state.ifindex)


async def test_deleted_and_made_again_at_once(heard: Heard, devices: Devices) -> None:
    before = await devices.state(TAP, deadline=soon())
    run("sh", "-c", f"ip link delete {TAP}; ip tuntap add {TAP} mode tap")
    await heard.everything()
    (gone,) = (change for change in heard.of(TAP) if change.state is None)
    come = heard.of(TAP)[-1]
    assert heard.of(TAP).index(gone) < heard.of(TAP).index(come)
    assert before is not None and (gone.state, gone.ifindex) == (None, before.ifindex)
    there = await devices.state(TAP, deadline=soon())
    assert come.state is not None and there is not None
    assert replace(come.state, carrier=False) == replace(there, carrier=False)
    assert come.ifindex == there.ifindex != before.ifindex


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        (["down"], "up", False),
        (["mtu", "1300"], "mtu", 1300),
        (["address", "fe:00:00:00:00:99"], "mac", "fe:00:00:00:00:99"),
        (["alias", ""], "alias", ""),
    ],
)
async def test_a_change(heard: Heard, devices: Devices, change: list[str], field: str, value: object) -> None:
    run("ip", "link", "set", TAP, *change)
    await heard.everything()
    (only,) = heard.of(TAP)
    assert only.state is not None and getattr(only.state, field) == value
    assert only.state == await devices.state(TAP, deadline=soon())


async def test_what_changes_nothing_is_not_reported(heard: Heard) -> None:
    run("ip", "link", "set", TAP, "txqueuelen", "77")
    await heard.everything()
    assert heard.of(TAP) == []


async def test_moved_to_another_bridge_and_off_it(heard: Heard, devices: Devices) -> None:
    """A bridge reports its ports to the same group; a port that leaves it has not been deleted."""
    run("ip", "link", "add", "other", "type", "bridge")
    run("ip", "link", "set", TAP, "master", "other")
    bridge = await devices.state(DeviceName("other"), deadline=soon())
    await heard.until(lambda: heard.of(TAP))
    joined = heard.of(TAP)[-1].state
    assert bridge is not None and joined is not None and joined.master == bridge.ifindex
    run("ip", "link", "set", TAP, "nomaster")
    await heard.everything()
    left = heard.of(TAP)[-1].state
    assert left is not None and left.master is None
    assert all(change.state is not None for change in heard.of(TAP))


async def test_a_rename_is_an_end_and_a_beginning(heard: Heard, devices: Devices) -> None:
    run("ip", "link", "set", TAP, "name", "renamed")
    await heard.everything()
    state = await devices.state(DeviceName("renamed"), deadline=soon())
    assert state is not None
    assert heard.changes[:2] == [
        LinkChange(TAP, None, state.ifindex),
        LinkChange(DeviceName("renamed"), state, state.ifindex),
    ]


async def test_moved_to_another_namespace(heard: Heard, namespace: Namespace) -> None:
    run("ip", "link", "add", "wanderer", "type", "veth")
    await heard.until(lambda: heard.of("wanderer"))
    run("ip", "link", "set", "wanderer", "netns", namespace.path)
    await heard.until(lambda: heard.of("wanderer")[-1].state is None)


async def test_a_guest_opens_its_tap(heard: Heard) -> None:
    with Holder(TAP):
        await heard.until(lambda: heard.of(TAP))
        state = heard.of(TAP)[-1].state
        assert state is not None and state.carrier
    await heard.until(lambda: not getattr(heard.of(TAP)[-1].state, "carrier", True))


async def test_our_own_changes_are_heard_too(heard: Heard, devices: Devices) -> None:
    await devices.ensure_tap(replace(SPEC, mtu=1300), deadline=soon())
    await devices.remove(TAP, port_id=SPEC.port_id, deadline=soon())
    await heard.until(lambda: heard.of(TAP)[-1:] and heard.of(TAP)[-1].state is None)


async def test_who_no_longer_listens_hears_nothing(heard: Heard, devices: Devices) -> None:
    other = Heard()
    devices.watch(other)()
    run("ip", "link", "delete", TAP)
    await heard.everything()
    assert other.events == []


async def test_an_overrun_is_reported_and_what_comes_after_is_heard(devices: Devices) -> None:
    """The socket has room for a few events, and nobody reads while there are many."""
    heard = Heard()
    run("ip", "link", "add", "wanderer", "type", "veth")
    watch = LinkWatch(LinkEventSocket(buffer_bytes=1), await devices._relist(), heard, devices._relist)
    try:
        run("ip", "link", "set", "wanderer", "name", "first")
        script = "".join(f"link set lo mtu {mtu}\n" for mtu in range(2000, 2100))
        run("sh", "-c", f"printf '{script}' | ip -b -")
        run("ip", "link", "set", "first", "name", "second")
        await heard.until(lambda: LinkEventsLost() in heard.events)
        run("ip", "link", "set", "second", "name", "third")
        await heard.until(lambda: heard.of("third"))
        state = await devices.state(DeviceName("third"), deadline=soon())
        assert state is not None
        after = heard.events[heard.events.index(LinkEventsLost()) + 1 :]
        assert after[-2:] == [
            LinkChange(DeviceName("second"), None, state.ifindex),
            LinkChange(DeviceName("third"), state, state.ifindex),
        ]
    finally:
        await watch.close()


async def test_listening_costs_nothing_while_nothing_happens(heard: Heard) -> None:
    await heard.everything()
    began, used = time.monotonic(), time.process_time()
    await asyncio.sleep(0.2)
    assert time.process_time() - used < 0.5 * (time.monotonic() - began)


async def test_thousands_of_changes_fit(heard: Heard) -> None:
    """Nobody reads meanwhile."""
    script = "".join(f"link set lo mtu {mtu}\n" for mtu in range(2000, 4000))
    run("sh", "-c", f"printf '{script}' | ip -b -")
    await heard.everything()
    assert LinkEventsLost() not in heard.events
    assert len(heard.of("lo")) == 2000
