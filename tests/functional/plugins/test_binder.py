"""The example binder against its daemon over a real socket, with the daemon in every bad mood."""

from __future__ import annotations

import asyncio
import time

import pytest
from ofctl_tor import TorBinder

from ofctl.errors import BinderFailed, DeadlineExceeded, InvalidField, Refused
from ofctl.model.confirmation import Outcome
from ofctl.model.port import PortState, Recovery
from ofctl.pipeline.anchors import place_apps
from tests.functional.plugins.lab import AppLab, Daemon


@pytest.fixture
async def lab(app_lab: AppLab, daemon: Daemon) -> AppLab:
    """A host whose ports are bound at the daemon."""
    options = {"socket": str(daemon.socket), "patience_s": 5.0}
    app_lab.extra = {"binders": place_apps([TorBinder], {"tor": options}), "bind_timeout_s": 2.0}
    await app_lab.start()
    await app_lab.apply_network()
    return app_lab


async def until_active(lab: AppLab, name: str) -> None:
    deadline = time.monotonic() + 8
    while lab.port(name).binding.state is not PortState.ACTIVE:
        assert time.monotonic() < deadline, lab.port(name).binding
        await asyncio.sleep(0.02)


async def test_a_port_is_bound_when_it_is_confirmed_and_unbound_when_it_is_gone(lab: AppLab, daemon: Daemon) -> None:
    (port,) = await lab.plug(lab.spec("p1", annotations=(("tor/speed", "10000"),)))
    assert daemon.bound == {"p1@h1": {"vlan": 0, "mac": port.binding.mac_address, "speed": "10000"}}
    assert port.binding.confirmation is not None
    assert "binding" in [timing.stage for timing in port.binding.confirmation.stages]
    await lab.unplug("p1")
    assert daemon.bound == {}
    await lab.see()


async def test_an_update_binds_the_port_as_it_is_now(lab: AppLab, daemon: Daemon) -> None:
    await lab.plug(lab.spec("p1", annotations=(("tor/speed", "10000"),)))
    await lab.update("p1", annotations=(("tor/speed", "1000"),))
    assert daemon.bound["p1@h1"]["speed"] == "1000"
    with pytest.raises(InvalidField):
        await lab.update("p1", annotations=(("tor/speed", "5"),))
    assert lab.port("p1").binding.spec.annotations == (("tor/speed", "1000"),)


async def test_an_update_whose_binder_does_not_answer_leaves_the_port_as_before(lab: AppLab, daemon: Daemon) -> None:
    """It is mended until the binder has heard of it again; an unplug does not wait for that."""
    await lab.plug(lab.spec("p1", annotations=(("tor/speed", "10000"),)))
    daemon.kill()
    with pytest.raises(BinderFailed) as failed:
        await lab.update("p1", annotations=(("tor/speed", "1000"),))
    assert failed.value.metadata["outcome"] == "UNCHANGED"
    shown = lab.port("p1").binding
    assert (shown.spec.annotations, shown.state) == ((("tor/speed", "10000"),), PortState.DEGRADED)
    assert shown.state_reason == "UPDATE_UNDONE"
    daemon.start()
    await until_active(lab, "p1")
    assert daemon.bound["p1@h1"]["speed"] == "10000"
    await lab.unplug("p1")
    assert daemon.bound == {}


async def test_annotations_are_judged_by_the_app_that_declares_them(lab: AppLab, daemon: Daemon) -> None:
    for key, value, problem in (
        ("tor/speed", "5", "is '5'; the switch has 1000"),
        ("tor/colour", "red", "app tor has no such field; it has speed"),
        ("nobody/speed", "5", "no app 'nobody' is loaded"),
    ):
        with pytest.raises(InvalidField, match=problem) as wrong:
            await lab.plug(lab.spec("p1", annotations=((key, value),)))
        assert wrong.value.field == f"port.annotations['{key}']"
    assert daemon.bound == {}


async def test_a_binder_that_says_no_leaves_nothing_behind(lab: AppLab, daemon: Daemon) -> None:
    daemon.kill()
    daemon.start(vlans="1-199")
    with pytest.raises(Refused, match="VLAN 0 is none of this switch's") as refused:
        await lab.plug(lab.spec("p1"), request_id="no")
    assert refused.value.reason == "BINDER_REFUSED"
    assert refused.value.metadata["binder"] == "tor"
    assert (refused.value.stage, refused.value.metadata["outcome"]) == ("binding", "ABSENT")
    assert lab.record("no").outcome is Outcome.ABSENT
    (app,) = lab.engine.host().apps
    assert (app.name, app.kind, app.last_error) == ("tor", "binder", refused.value.message)
    await lab.see()


async def test_an_unreachable_daemon_fails_the_plug_at_once(lab: AppLab, daemon: Daemon) -> None:
    daemon.kill()
    begun = time.monotonic()
    with pytest.raises(BinderFailed, match=r"binder tor failed for port 'p1'.*cannot be reached") as failed:
        await lab.plug(lab.spec("p1"))
    assert failed.value.metadata["outcome"] == "ABSENT"
    assert time.monotonic() - begun < 1
    await lab.see()


async def test_a_slow_daemon_costs_the_plug_its_deadline_and_is_unbound_when_it_answers(
    lab: AppLab, daemon: Daemon
) -> None:
    daemon.pause()
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded) as late:
        await lab.plug(lab.spec("p1"), timeout_s=1.0)
    assert time.monotonic() - begun < 1.5
    assert (late.value.metadata["outcome"], late.value.metadata["binder"]) == ("UNKNOWN", "tor")
    assert late.value.reason == "BINDER_TIMEOUT"
    daemon.resume()
    await lab.see()
    assert daemon.bound == {}


async def test_a_slow_daemon_delays_no_other_plug(lab: AppLab, daemon: Daemon) -> None:
    daemon.pause()
    slow = asyncio.create_task(lab.plug(lab.spec("p1")))
    quiet = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.3, quiet.set_result, None)
    await quiet
    assert not slow.done()
    assert "p1" in lab.seen().ports
    assert lab.port("p1").binding.state is PortState.BUILD
    daemon.resume()
    (port,) = await slow
    assert port.binding.state is PortState.ACTIVE


async def test_a_daemon_that_is_restarted_in_the_middle_is_asked_again(lab: AppLab, daemon: Daemon) -> None:
    daemon.pause()
    plug = asyncio.create_task(lab.plug(lab.spec("p1")))
    deadline = time.monotonic() + 5
    while "p1" not in lab.seen().ports or not await _connected(daemon):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    daemon.kill()
    daemon.start()
    (port,) = await plug
    assert port.binding.state is PortState.ACTIVE
    assert list(daemon.bound) == ["p1@h1"]


async def test_a_port_that_is_kept_trying_is_bound_when_the_daemon_is_back(lab: AppLab, daemon: Daemon) -> None:
    daemon.kill()
    with pytest.raises(BinderFailed):
        await lab.plug(lab.spec("p1", recovery=Recovery.KEEP_TRYING))
    daemon.start()
    await until_active(lab, "p1")
    assert list(daemon.bound) == ["p1@h1"]


async def test_an_unplug_while_the_binder_is_tried_again_leaves_nothing(lab: AppLab, daemon: Daemon) -> None:
    daemon.kill()
    with pytest.raises(BinderFailed):
        await lab.plug(lab.spec("p1", recovery=Recovery.KEEP_TRYING))
    await lab.unplug("p1")
    await lab.see()


async def test_an_unplug_waits_for_the_daemon_and_does_not_forget_it(lab: AppLab, daemon: Daemon) -> None:
    await lab.plug(lab.spec("p1"))
    daemon.kill()
    with pytest.raises(DeadlineExceeded):
        await lab.unplug("p1", timeout_s=0.5)
    assert lab.port("p1").binding.state is PortState.REMOVING
    daemon.start()
    await lab.see()
    assert daemon.bound == {}


async def test_ports_are_bound_again_at_the_start_of_the_agent(lab: AppLab, daemon: Daemon) -> None:
    await lab.plug(lab.spec("p1"))
    await lab.stop()
    daemon.kill()
    (daemon.socket.parent / "tor.json").write_text("{}")
    daemon.start()
    await lab.start()
    assert list(daemon.bound) == ["p1@h1"]
    assert lab.port("p1").binding.state is PortState.ACTIVE


async def test_a_start_without_the_daemon_serves_and_binds_later(lab: AppLab, daemon: Daemon) -> None:
    await lab.plug(lab.spec("p1"))
    await lab.stop()
    daemon.kill()
    await lab.start()
    assert lab.port("p1").binding.state_reason == "BINDER_FAILED"
    daemon.start()
    await until_active(lab, "p1")


async def test_a_plug_that_the_agent_did_not_survive_is_unbound_at_the_next_start(lab: AppLab, daemon: Daemon) -> None:
    daemon.pause()
    plug = asyncio.create_task(lab.plug(lab.spec("p1")))
    deadline = time.monotonic() + 5
    while not await _connected(daemon):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await lab.stop()
    plug.cancel()
    daemon.resume()
    await lab.start()
    await lab.see()
    assert daemon.bound == {}


async def _connected(daemon: Daemon) -> bool:
    """Tell whether somebody waits at the socket of the daemon, which does not accept."""
    listed = await asyncio.create_subprocess_exec("ss", "-xlH", stdout=asyncio.subprocess.PIPE)
    output, _ = await listed.communicate()
    return any(line.split()[2] != "0" for line in output.decode().splitlines() if str(daemon.socket) in line)
