"""A sandbox is out of the host's sight, needs no root, and leaves nothing."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ofctl.sandbox.processes import Child
from ofctl.sandbox.sandbox import STATE_PREFIX, StateDirectory, sweep

UNPRIVILEGED = Path(__file__).with_name("unprivileged.py")
TIMEOUT_S = 60
INSIDE = """
import json, os, subprocess
from pathlib import Path
from ofctl.sandbox.isolation import RUN, enter
from ofctl.sandbox.ovs import PrivateOvs
enter([PROGRAM])
ovs = PrivateOvs(RUN / "openvswitch")
ovs.start()
ovs.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
subprocess.run(["ip", "tuntap", "add", "tap0", "mode", "tap"], check=True)
ovs.vsctl("add-port", "br0", "tap0")
subprocess.run(["ip", "netns", "add", "inside-oft"], check=True)
print(json.dumps({
    "uid": os.geteuid(),
    "ofport": ovs.vsctl("get", "Interface", "tap0", "ofport").strip(),
    "flows": ovs.ovs_ofctl("dump-flows", "br0"),
    "links": [link["ifname"] for link in json.loads(subprocess.check_output(["ip", "-j", "link"]))],
    "netns": os.readlink("/proc/self/ns/net"),
    "named": os.listdir("/run/netns"),
}))
ovs.stop()
"""


def run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def unprivileged(mode: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run as a user without any privilege, with /dev/net/tun of that mode."""
    return run(["unshare", "--mount", "--", sys.executable, str(UNPRIVILEGED), mode, sys.executable, *command])


@pytest.fixture
def program() -> Iterator[str]:
    """A program that makes a switch with a TAP inside; readable by everybody, as pytest's own directory is not."""
    with tempfile.TemporaryDirectory(prefix="oft-") as directory:
        file = Path(directory, "inside.py")
        file.parent.chmod(0o755)
        file.write_text(INSIDE.replace("PROGRAM", repr(str(file))))
        yield str(file)


def check_inside(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["uid"] == 0
    assert int(seen["ofport"]) > 0
    assert "actions=NORMAL" in seen["flows"]
    assert {"lo", "br0", "tap0"} <= set(seen["links"])
    assert seen["named"] == ["inside-oft"]
    assert seen["netns"] != os.readlink("/proc/self/ns/net")
    here = {link["ifname"] for link in json.loads(subprocess.check_output(["ip", "-j", "link"]))}
    assert not here & {"br0", "tap0", "ovs-netdev"}
    assert not Path("/run/netns/inside-oft").exists()


def test_a_switch_in_namespaces_of_its_own(program: str) -> None:
    check_inside(run([sys.executable, program]))


def test_the_same_without_root(program: str) -> None:
    check_inside(unprivileged("0666", program))


def test_a_closed_tun_is_named_with_its_cure(program: str) -> None:
    done = unprivileged("0600", program)
    assert done.returncode != 0
    assert "/dev/net/tun has mode 0600" in done.stderr
    assert "chmod 0666 /dev/net/tun" in done.stderr


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    starter = (
        "import sys, time; from pathlib import Path; from ofctl.sandbox.processes import Child\n"
        "child = Child(['sleep', '30'], log=Path(sys.argv[1]))\n"
        "while Path(f'/proc/{child.pid}/comm').read_text() != 'sleep\\n': time.sleep(0.001)\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", starter, str(tmp_path / "log")], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    watch = os.pidfd_open(pid)
    parent.kill()
    parent.communicate()
    with open(watch, "rb", closefd=True) as descriptor:
        readable, _, _ = select.select([descriptor], [], [], 10)
    assert readable


def test_a_state_directory_in_use_is_kept_and_a_left_one_is_swept() -> None:
    with StateDirectory() as state:
        left = Path(tempfile.mkdtemp(prefix=STATE_PREFIX))
        (left / "intents.db").write_text("")
        sweep()
        assert state.exists()
        assert not left.exists()
    assert not state.exists()


def test_stop_ends_a_frozen_child(tmp_path: Path) -> None:
    child = Child(["sleep", "60"], log=tmp_path / "log")
    child.signal(signal.SIGSTOP)
    child.stop()
    assert not child.running
