"""What dies at each stage of a plug: the databases, under an agent that lives; and the agent itself, by kill -9.

The agent that dies is a real process, which kills itself when it comes to a stage. What is there afterwards must be
what the outcome of the request says, and what the next agent makes of it must be whole.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ofctl.sandbox.sandbox as sandbox_module
from ofctl.client import ApiError, Client, ConfirmationLevel, Network, Outcome, PortSpec, SecurityGroup, VmConsumer
from ofctl.errors import DeviceError
from ofctl.model.confirmation import Level
from ofctl.sandbox.sandbox import Sandbox
from tests.eyes import NOTHING, look
from tests.functional.engine.lab import BRIDGE, Lab
from tests.functional.engine.test_faults import STAGES, before

READBACK = ConfirmationLevel.CONFIRMATION_LEVEL_READBACK
DEATHS = {
    "add_bindings": "IntentStore",
    "make_device": "Chassis",
    "attach": "Chassis",
    "install_flows": "Chassis",
    "settle": "Chassis",
    "read_back": "Chassis",
    "update_bindings": "IntentStore",
}
UNPLUG_DEATHS = {
    "update_bindings": "IntentStore",
    "withdraw_flows": "Chassis",
    "detach": "Chassis",
    "remove_device": "Chassis",
    "remove_bindings": "IntentStore",
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("which", ["switch", "intents"])
async def test_a_database_killed_in_the_middle_of_a_plug(lab: Lab, which: str, stage: str) -> None:
    server = lab.ovs.database if which == "switch" else lab.intents

    def restart() -> None:
        server.kill()
        server.start()

    with before(lab.engine.chassis, stage, restart):
        (port,) = await lab.plug(lab.spec("p1"), level=Level.READBACK, timeout_s=15)
    await lab.see(port)


async def test_no_descriptor_left_is_a_clear_error_and_leaves_nothing(lab: Lab) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open("/dev/null", os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        with pytest.raises(DeviceError) as caught:
            await lab.plug(lab.spec("p1"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(lowest_free)
    assert caught.value.metadata["errno"] == "EMFILE"
    assert caught.value.metadata["outcome"] == "ABSENT"
    assert lab.seen() == NOTHING


def dies_before(owner: str, method: str) -> str:
    """Return the program of an agent that kills itself when it comes to `method`."""
    module = {"Chassis": "ofctl.engine.chassis", "IntentStore": "ofctl.ovsdb.intents"}[owner]
    return (
        f"import os, signal, sys; from {module} import {owner}; from ofctl.agent import main\n"
        f"async def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{owner}.{method} = die; sys.exit(main())"
    )


@pytest.fixture
def sandbox(netns: None, rundir: Path) -> Iterator[Sandbox]:
    """A host whose agent is a process of its own, with one network."""
    made = Sandbox(rundir)
    try:
        made.start()
        with Client(made.target) as client:
            client.apply_network(Network(network_id="n1"))
        yield made
    finally:
        made.stop()


def spec(name: str) -> PortSpec:
    return PortSpec(port_id=name, network_id="n1", vm=VmConsumer())


def restart(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Start another agent in the place of the one that runs or has died."""
    if sandbox.agent is not None and sandbox.agent.running:
        sandbox.kill_agent()
    monkeypatch.setattr(sandbox_module, "AGENT", program)
    sandbox.start_agent()


def test_an_agent_killed_at_each_stage_of_a_plug(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sandbox_module.AGENT
    for stage, owner in DEATHS.items():
        restart(sandbox, monkeypatch, dies_before(owner, stage))
        with Client(sandbox.target) as client, pytest.raises(ApiError):
            client.plug(spec(f"p-{stage}"), request_id=f"r-{stage}", level=READBACK, timeout_s=1)
        restart(sandbox, monkeypatch, whole)
        with Client(sandbox.target) as client:
            if stage != "add_bindings":
                until_absent(client, f"r-{stage}")
            assert look(sandbox.ovs, sandbox.intents, BRIDGE) == NOTHING, stage
            port = client.plug(spec(f"p-{stage}"))
            assert look(sandbox.ovs, sandbox.intents, BRIDGE).only(port.spec.port_id), stage
            client.unplug(port.spec.port_id)


def test_an_agent_killed_at_each_stage_of_an_unplug(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sandbox_module.AGENT
    for stage, owner in UNPLUG_DEATHS.items():
        with Client(sandbox.target) as client:
            client.plug(spec(stage))
        restart(sandbox, monkeypatch, dies_before(owner, stage))
        with Client(sandbox.target) as client, pytest.raises(ApiError):
            client.unplug(stage, timeout_s=1)
        restart(sandbox, monkeypatch, whole)
        with Client(sandbox.target) as client:
            client.unplug(stage, missing_ok=True)
        assert look(sandbox.ovs, sandbox.intents, BRIDGE) == NOTHING, stage


UPDATE_DEATHS = ("attach", "install_flows", "settle", "read_back", "reinstate_flows")
"""The last one on the way back, of an update that is refused when it is read back."""


FIELDS = ("security_groups", "project_id")
REFUSES = (
    "from ofctl.errors import DriverError\n"
    "async def refuse(*_, **__): raise DriverError('it differs', reason='READBACK_DIFFERS')\n"
)


@pytest.mark.chaos
def test_an_agent_killed_at_each_stage_of_an_update(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_in_updates(sandbox, monkeypatch, *UPDATE_DEATHS)


def test_an_agent_killed_in_the_middle_of_an_update(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_in_updates(sandbox, monkeypatch, "install_flows")


def killed_in_updates(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, *stages: str) -> None:
    """The next agent makes the durable spec true, and closes the request accordingly."""
    whole = sandbox_module.AGENT
    with Client(sandbox.target) as client:
        client.apply_security_group(SecurityGroup(security_group_id="g1"))
        client.plug(spec("p1"))
    for stage in stages:
        program = dies_before("Chassis", stage)
        if stage == "reinstate_flows":
            program = REFUSES + program.replace("sys.exit(", "Chassis.read_back = refuse; sys.exit(")
        restart(sandbox, monkeypatch, program)
        change = PortSpec(port_id="p1", security_groups=["g1"], project_id=stage)
        with Client(sandbox.target) as client, pytest.raises(ApiError):
            client.update(change, FIELDS, request_id=f"u-{stage}", level=READBACK, timeout_s=2)
        restart(sandbox, monkeypatch, whole)
        with Client(sandbox.target) as client:
            kept = Outcome.OUTCOME_UNCHANGED if stage == "reinstate_flows" else Outcome.OUTCOME_CONFIRMED
            until_outcome(client, f"u-{stage}", kept)
            port = client.port("p1")
            assert (port.spec.project_id == stage) is (kept == Outcome.OUTCOME_CONFIRMED), stage
            assert port.confirmation.flow_count > 0, stage
            assert look(sandbox.ovs, sandbox.intents, BRIDGE).only("p1"), stage
            client.update(PortSpec(port_id="p1"), FIELDS)


def until_outcome(client: Client, request_id: str, outcome: Outcome.ValueType) -> None:
    """Return when a request has come to this."""
    for _ in range(500):
        if client.request(request_id).request.outcome == outcome:
            return
        time.sleep(0.01)
    pytest.fail(f"{request_id} is {client.request(request_id).request}")


def until_absent(client: Client, request_id: str) -> None:
    """Return when the next agent has undone what the dead one began."""
    for _ in range(200):
        if client.request(request_id).request.outcome == Outcome.OUTCOME_ABSENT:
            return
    pytest.fail(f"{request_id} is not undone")
