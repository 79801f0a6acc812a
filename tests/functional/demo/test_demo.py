"""`make demo`, as root and as an unprivileged user: every claim observed, and nothing left on the host."""

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

UNPRIVILEGED = Path(__file__).parents[1] / "sandbox" / "unprivileged.py"
TIMEOUT_S = 120
DEMO = (sys.executable, "-m", "ofctl.demo")
AS_NOBODY = ("unshare", "--mount", "--", sys.executable, str(UNPRIVILEGED), "0666")


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory for temporary files, ours alone and open to every user."""
    with tempfile.TemporaryDirectory(prefix="oft-") as directory:
        Path(directory).chmod(0o1777)
        monkeypatch.setenv("TMPDIR", directory)
        yield Path(directory)


def host_traces(scratch: Path) -> tuple[set[str], set[str], set[str]]:
    """Return devices, named namespaces and temporary files that the host has now."""
    links = json.loads(subprocess.check_output(["ip", "-json", "link", "show"]))
    named = Path("/run/netns")
    return (
        {link["ifname"] for link in links},
        {path.name for path in named.iterdir()} if named.exists() else set(),
        {path.name for path in scratch.iterdir()},
    )


@pytest.mark.parametrize("prefix", [(), AS_NOBODY], ids=["root", "unprivileged"])
def test_demo_observes_all_it_claims_and_leaves_nothing(prefix: Sequence[str], scratch: Path) -> None:
    before = host_traces(scratch)
    done = subprocess.run([*prefix, *DEMO], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "claims were observed" in done.stdout
    assert "FAIL" not in done.stdout
    for port in ("vm1", "vm2", "ns1", "ns2", "ns3"):
        assert f"{port} is confirmed" in done.stdout
    assert done.stdout.count("100000000 bytes") == 4
    assert done.stdout.count(", 0 lost") == 6
    assert ("without root" in done.stdout) is bool(prefix)
    assert host_traces(scratch) == before


def test_a_claim_that_does_not_hold_is_an_exit_status(scratch: Path) -> None:
    """The demo of an agent that cannot start fails, says what the agent said, and leaves nothing."""
    before = host_traces(scratch)
    broken = (
        "import runpy, ofctl.sandbox.sandbox as sandbox; sandbox.AGENT = 'raise SystemExit(\"no agent today\")';"
        "runpy.run_module('ofctl.demo', run_name='__main__')"
    )
    inside = ["unshare", "--net", "--mount", "--", sys.executable, "-c", broken]
    environment = {**os.environ, "OFCTL_SANDBOX": "1"}
    done = subprocess.run(inside, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NOT observed" in done.stdout
    assert "no agent today" in done.stdout
    assert host_traces(scratch) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_leaves_no_process(number: signal.Signals, scratch: Path) -> None:
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "is ready" in line:
                break
        network = os.readlink(f"/proc/{demo.pid}/ns/net")
        inside = {pid: os.pidfd_open(pid) for pid in processes_in(network) if pid != demo.pid}
        assert len(inside) >= 4  # two ovsdb-servers, ovs-vswitchd, the agent
        demo.send_signal(number)
        demo.stdout.read()
    for pid, descriptor in inside.items():
        assert ended(descriptor), f"process {pid} survived"
    assert not processes_in(network)
    # SIGKILL leaves the state directory to the next start, which sweeps it.
    assert len(list(scratch.iterdir())) == (number == signal.SIGKILL)


def processes_in(network: str) -> set[int]:
    """Return the processes in a network namespace."""
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(directory / "ns" / "net") == network:
                found.add(int(directory.name))
        except OSError:
            continue
    return found


def ended(descriptor: int) -> bool:
    """Block until the process of a pidfd has ended, at most for ten seconds."""
    with open(descriptor, "rb") as watch:
        return bool(select.select([watch], [], [], 10)[0])
