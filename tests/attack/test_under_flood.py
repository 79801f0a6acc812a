"""A guest sends as much as it can of what costs most; ports are plugged meanwhile, and the others go on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

import pytest

from ofctl.model.confirmation import Level
from tests.attack.cast import ATTACKER, NEIGHBOUR, between
from tests.attack.filtering import udp
from tests.attack.floods import Flood, kinds
from tests.attack.host import GUARDED, PACKET_INS, AttackedHost
from tests.functional.engine.lab import in_s

KINDS = kinds()
FOR_AN_APP = "frames for an app"
PLUGS = 2
MEASURED_PLUGS = 50
SLOWER = 20
"""Times what a plug takes without a flood. On two processors, of which the flood has one, up to 8 were seen."""


def plug_once(host: AttackedHost) -> float:
    """Plug a port, confirmed, and unplug it; return the seconds of the plug."""
    begun = time.monotonic()
    host.live.call(host.lab.plug(host.lab.spec("late", network_id=GUARDED.network_id)))
    taken = time.monotonic() - begun
    host.live.call(host.lab.unplug("late"))
    return taken


def is_flood(frame: bytes) -> bool:
    return any(kind.has(frame) for kind in KINDS.values())


async def counters(host: AttackedHost) -> Mapping[str, int]:
    return await host.lab.engine.app_counters(deadline=in_s(5))


@pytest.mark.parametrize("name", KINDS)
def test_ports_are_plugged_under_a_flood(host: AttackedHost, name: str) -> None:
    before = host.live.call(counters(host))
    with Flood(host.guarded, KINDS[name]) as flood:
        for _ in range(PLUGS):
            plug_once(host)
    assert flood.sent > 1000
    host.guarded.settle(KINDS[name].sender)
    sent = between(ATTACKER, NEIGHBOUR, 4, udp(4800, 5000))
    # The last of a flood may come late: what an app lets go on has its rate, and the switch takes frames in batches.
    arrived = host.guarded.send(ATTACKER, sent)
    own = {member: [frame for frame in frames if not is_flood(frame)] for member, frames in arrived.items()}
    assert {member: frames for member, frames in own.items() if frames} == {NEIGHBOUR.name: [sent]}
    after = host.live.call(counters(host))
    handed, limited = (
        after[each] - before[each] for each in ("app.passing.packet-ins", "app.passing.packet-ins-limited")
    )
    assert handed <= PACKET_INS.per_app
    if name == FOR_AN_APP:
        assert handed and limited


def test_forged_probes_are_taken_for_no_probes(host: AttackedHost) -> None:
    """What a guest sends in their name changes nothing of what they show."""
    with Flood(host.guarded, KINDS["forged probes"]):
        spec = host.lab.spec("late", network_id=GUARDED.network_id)
        (port,) = host.live.call(host.lab.plug(spec, level=Level.PROBE))
    host.live.call(host.lab.unplug("late"))
    host.guarded.settle(KINDS["forged probes"].sender)
    shown = port.binding.confirmation
    assert shown is not None and shown.level is Level.PROBE and shown.frames
    assert all(frame.seen == frame.expected for frame in shown.frames)


@pytest.mark.chaos
@pytest.mark.parametrize("name", KINDS)
def test_a_plug_is_not_much_slower_under_a_flood(host: AttackedHost, name: str) -> None:
    quiet = [plug_once(host) for _ in range(MEASURED_PLUGS)]
    with Flood(host.guarded, KINDS[name]):
        loud = [plug_once(host) for _ in range(MEASURED_PLUGS)]
    host.guarded.settle(KINDS[name].sender)
    ratio = _p99(loud) / _p99(quiet)
    print(f"{name}: p99 {_p99(quiet) * 1000:.0f} ms, under the flood {_p99(loud) * 1000:.0f} ms")
    assert ratio < SLOWER, f"{ratio:.1f} times as slow"


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]
