"""The systemd units: right in form, ordered before the consumers, and with not one capability too many or too few."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ofctl.client import ApiError, Client, ConfirmationLevel, NamespaceConsumer, Network, PortSpec, Subnet, VmConsumer
from ofctl.sandbox.processes import ProcessFailed
from ofctl.sandbox.sandbox import AGENT
from tests.functional.boot import confinement
from tests.functional.boot.confinement import system_calls
from tests.functional.boot.conftest import Machine
from tests.functional.engine.lab import Namespace

UNITS = Path(__file__).parents[3] / "etc" / "systemd"
AGENT_UNIT = "ofctl-agent.service"
GROUP = "daemon"
NEEDED_FOR = {
    "CAP_CHOWN": "cannot listen on .*ofctl.sock: Operation not permitted",
    "CAP_NET_ADMIN": "cannot create the TAP .*: Operation not permitted",
    "CAP_SYS_ADMIN": r"cannot enter the network namespace .*: Operation not permitted \(this needs CAP_SYS_ADMIN",
    "CAP_SYS_PTRACE": r"cannot open the network namespace .*: Permission denied \(.* needs CAP_SYS_PTRACE",
    "CAP_NET_RAW": "cannot open eth0 in .*: Operation not permitted",
}
"""What is said when a capability is missing."""
FAMILIES = {"AF_UNIX", "AF_NETLINK", "AF_INET", "AF_INET6", "AF_PACKET"}


def options_of(unit: str, option: str) -> list[str]:
    """Return all words that a unit has for an option."""
    found = []
    for line in (UNITS / unit).read_text().splitlines():
        name, is_option, value = line.partition("=")
        if is_option and name == option:
            found += value.split()
    return found


def verify(*paths: Path) -> str:
    """Return what systemd-analyze says against units; it looks for their neighbours beside them."""
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", *map(str, paths)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0 or done.stderr
    return done.stderr


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """A directory with the units, to add others and faults to."""
    for path in UNITS.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path


def test_systemd_has_nothing_to_say_against_them(copies: Path) -> None:
    names = [AGENT_UNIT, "ofctl-db.service", "ofctl-ready.target"]
    assert sorted(path.name for path in UNITS.iterdir()) == names
    assert verify(*UNITS.iterdir()) == ""
    wrong = copies / "ofctl-agent.service"
    wrong.write_text(wrong.read_text().replace("WatchdogSec", "WatchdogSeconds"))
    assert "WatchdogSeconds" in verify(wrong)


@pytest.mark.parametrize("consumer", ["libvirtd", "docker", "podman", "nova-compute", "openstack-nova-compute"])
def test_consumers_start_after_the_agent(copies: Path, consumer: str) -> None:
    """Whoever wants the reverse order makes a cycle; who asks for ofctl-ready.target does not."""
    service = copies / f"{consumer}.service"
    start = "[Service]\nExecStart=/bin/true\n"
    service.write_text(f"[Unit]\nRequires=ofctl-ready.target\nAfter=ofctl-ready.target\n{start}")
    assert verify(service) == ""
    service.write_text(f"[Unit]\nWants=ofctl-agent.service\nBefore=ofctl-agent.service\n{start}")
    assert "ordering cycle" in verify(service)


@pytest.mark.parametrize("provider", ["openvswitch-switch", "ofctl-db"])
def test_the_agent_starts_after_what_it_needs(copies: Path, provider: str) -> None:
    assert f"{provider}.service" in options_of(AGENT_UNIT, "Wants")
    service = copies / f"{provider}.service"
    service.write_text("[Unit]\nAfter=ofctl-agent.service\n[Service]\nExecStart=/bin/true\n")
    assert "ordering cycle" in verify(copies / "ofctl-agent.service")


def test_ready_is_what_systemd_waits_for() -> None:
    assert options_of(AGENT_UNIT, "Type") == ["notify"]
    assert options_of("ofctl-ready.target", "Requires") == options_of("ofctl-ready.target", "After")
    assert options_of(AGENT_UNIT, "Restart") == ["always"]


@pytest.fixture
def options() -> Mapping[str, Mapping[str, object]]:
    return {"grpc": {"socket_group": GROUP}}


def confined(capabilities: set[str]) -> list[str]:
    """Return the beginning of a command line for a program that runs as the unit has the agent run."""
    (group,) = options_of(AGENT_UNIT, "SystemCallFilter")
    calls = " ".join(sorted(system_calls(group)))
    families = " ".join(options_of(AGENT_UNIT, "RestrictAddressFamilies"))
    return [sys.executable, confinement.__file__, " ".join(sorted(capabilities)), calls, families]


def confine(machine: Machine, capabilities: set[str]) -> None:
    """Let the next agent run as the unit has it run, with these capabilities."""
    argv = confined(capabilities)
    machine.agent_runs(
        f"import os, sys; argv = [*{argv!r}, sys.executable, '-c', {AGENT!r}, *sys.argv[1:]]; os.execv(argv[0], argv)"
    )


def everything(machine: Machine, capabilities: set[str], namespaces: Mapping[str, str]) -> None:
    """Do with an agent whatever needs a power: raises ProcessFailed or ApiError when one is missing."""
    confine(machine, capabilities)
    try:
        machine.sandbox.start_agent(timeout_s=5)
        with Client(machine.sandbox.target, timeout_s=5) as client:
            client.apply_network(Network(network_id="n1", subnets=[Subnet(cidr="10.1.0.0/16")]))
            client.plug(PortSpec(port_id="vm", network_id="n1", vm=VmConsumer(owner_uid=1000)))
            for name, path in namespaces.items():
                port = PortSpec(port_id=name, network_id="n1", namespace=NamespaceConsumer(netns_path=path))
                client.plug(port, level=ConfirmationLevel.CONFIRMATION_LEVEL_PROBE)
            for name in ("vm", *namespaces):
                client.unplug(name)
    finally:
        machine.sandbox.stop_agent()


@pytest.fixture
def others_namespace() -> Iterator[str]:
    """The namespace of a process of another user, such as one in a container."""
    nobody = pwd.getpwnam("nobody")
    argv = ["unshare", "--net", "setpriv", f"--reuid={nobody.pw_uid}", "--clear-groups", "--pdeathsig", "KILL", "cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sleeper:
        assert sleeper.stdin is not None and sleeper.stdout is not None
        sleeper.stdin.write(b"here\n")
        sleeper.stdin.flush()
        assert sleeper.stdout.readline() == b"here\n"
        yield f"/proc/{sleeper.pid}/ns/net"


def test_the_agent_needs_each_capability_of_its_unit_and_no_other(machine: Machine, others_namespace: str) -> None:
    granted = set(options_of(AGENT_UNIT, "CapabilityBoundingSet"))
    assert granted == set(NEEDED_FOR)
    assert set(options_of(AGENT_UNIT, "RestrictAddressFamilies")) == FAMILIES
    with Namespace() as namespace:
        namespaces = {"ours": namespace.path, "theirs": others_namespace}
        for missing, said in NEEDED_FOR.items():
            with pytest.raises((ProcessFailed, ApiError), match=said):
                everything(machine, granted - {missing}, namespaces)
        everything(machine, granted, namespaces)


def test_a_switch_with_a_user_of_its_own_needs_one_capability_more(machine: Machine, others_namespace: str) -> None:
    """Open vSwitch makes its sockets with mode 0750 under umask 022: root without powers is not their owner."""
    nobody = pwd.getpwnam("nobody").pw_uid
    for path in (*machine.sandbox.ovs.rundir.glob("*.sock"), *machine.sandbox.ovs.rundir.glob("*.ctl")):
        os.chown(path, nobody, -1)
        path.chmod(0o750)
    granted = set(options_of(AGENT_UNIT, "CapabilityBoundingSet"))
    confine(machine, granted)
    with pytest.raises(ProcessFailed):
        machine.sandbox.start_agent(timeout_s=1.3)
    machine.sandbox.stop_agent()
    confine(machine, granted | {"CAP_DAC_OVERRIDE"})
    machine.sandbox.start_agent(timeout_s=5)
