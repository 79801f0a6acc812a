"""The connection tracking zone of a port: nobody else's connections in it, and not too many of its own.

The bridge `other` of the same switch makes connections in any zone: conntrack belongs to the datapath, not to a bridge.
"""

from __future__ import annotations

import asyncio
import re

import pytest

from ofctl.errors import SwitchUnavailable
from ofctl.model.confirmation import Level
from tests.functional.engine.lab import Lab, in_s
from tests.functional.engine.test_faults import until
from tests.functional.openflow.frames import Way

LIMIT = 8192
WAY = Way(4, 1)


def connect(lab: Lab, zone: int) -> None:
    """Make a connection in a zone."""
    packet = WAY.frame(WAY.udp(1000, 53)).hex()
    lab.ovs.ovs_ofctl("packet-out", "other", f"in_port=controller packet={packet} actions=ct(commit,zone={zone})")


def connections(lab: Lab, zone: int) -> int:
    return lab.ovs.appctl("dpctl/dump-conntrack", f"zone={zone}").count("orig=")


def limits(lab: Lab) -> dict[int, int]:
    told = lab.ovs.appctl("dpctl/ct-get-limits")
    return {int(zone): int(limit) for zone, limit in re.findall(r"zone=(\d+),limit=(\d+)", told)}


def unlimited(lab: Lab) -> int:
    return dict(lab.engine.host().counters)["zones.unlimited"]


@pytest.fixture
def other(lab: Lab) -> None:
    lab.ovs.vsctl("add-br", "other", "--", "set", "bridge", "other", "datapath_type=netdev", "fail_mode=secure")


async def test_a_port_gets_an_empty_limited_zone_and_leaves_it_empty(lab: Lab, other: None) -> None:
    for zone in (1, 2, 3):
        connect(lab, zone)
    assert [connections(lab, zone) for zone in (1, 2, 3)] == [1, 1, 1]
    a, b = await lab.plug(lab.spec("a"), lab.spec("b"))
    assert (a.binding.numbers.zone, b.binding.numbers.zone) == (1, 2)
    assert [connections(lab, zone) for zone in (1, 2, 3)] == [0, 0, 1]
    assert limits(lab) == {1: LIMIT, 2: LIMIT}
    for zone in (1, 2):
        connect(lab, zone)
    await lab.unplug("a")
    assert [connections(lab, zone) for zone in (1, 2, 3)] == [0, 1, 1]
    # The number is given again, and who has another keeps his connections. So does a restart of the agent.
    (c,) = await lab.plug(lab.spec("c"))
    assert c.binding.numbers.zone == 1
    await lab.stop()
    await lab.start()
    assert lab.port("b").binding.numbers == b.binding.numbers
    assert [connections(lab, zone) for zone in (1, 2)] == [0, 1]
    assert unlimited(lab) == 0


async def test_limits_are_there_again_after_a_restart_of_the_switch(lab: Lab) -> None:
    await lab.plug(*(lab.spec(f"p{number}") for number in range(5)))
    lab.ovs.kill_vswitchd()
    lab.ovs.start_vswitchd()
    await lab.plug(lab.spec("last"))
    assert limits(lab) == dict.fromkeys(range(1, 7), LIMIT)
    assert unlimited(lab) == 0


async def test_a_limit_that_somebody_takes_away_comes_back(lab: Lab) -> None:
    await lab.stop()
    options = lab.options
    lab.options = lambda **changes: options(**changes, config_interval_s=0.1)  # type: ignore[method-assign]
    await lab.start()
    await lab.plug(lab.spec("a"), lab.spec("b"))
    lab.ovs.appctl("dpctl/ct-del-limits", "zone=1")
    lab.ovs.appctl("dpctl/ct-set-limits", "zone=2,limit=5")
    await until(lambda: limits(lab) == {1: LIMIT, 2: LIMIT})
    await until(lambda: dict(lab.engine.host().counters)["zones.limits_mended"] == 2)


async def test_without_the_control_socket_ports_are_plugged_and_the_host_says_what_is_missing(lab: Lab) -> None:
    pid_file = lab.ovs.rundir / "ovs-vswitchd.pid"
    hidden = pid_file.rename(pid_file.with_suffix(".hidden"))
    await lab.plug(lab.spec("a"), lab.spec("b"), level=Level.BARRIER)
    assert unlimited(lab) == 2
    hidden.rename(pid_file)
    assert limits(lab) == {}
    await lab.plug(lab.spec("c"))
    assert unlimited(lab) == 0
    assert limits(lab) == dict.fromkeys((1, 2, 3), LIMIT)


async def test_many_ports_share_a_round_and_who_waits_for_a_frozen_switch_hears_it(lab: Lab) -> None:
    zones = lab.engine.chassis.zones
    begun = lab.ovs.appctl("coverage/read-counter", "unixctl_received").strip()
    await asyncio.gather(*(zones.prepare(zone, deadline=in_s(5)) for zone in range(100, 200)))
    # One call for the first of them, one for all others at most, and one to ask.
    assert int(lab.ovs.appctl("coverage/read-counter", "unixctl_received")) - int(begun) <= 3
    assert len(limits(lab)) == 100
    lab.ovs.freeze_vswitchd()
    waiting = asyncio.create_task(zones.prepare(200, deadline=in_s(20)))
    await asyncio.sleep(0)
    await zones.close()
    with pytest.raises(SwitchUnavailable, match="stops"):
        await waiting
    lab.ovs.thaw_vswitchd()
