"""A shell in a sandbox: a private switch with an agent, to try things on. Nothing of the host is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ofctl.sandbox.isolation import RUN, NotPossible, enter
from ofctl.sandbox.ovs import environment
from ofctl.sandbox.processes import ProcessFailed
from ofctl.sandbox.sandbox import Sandbox, StateDirectory, exit_on_signals

APP = "--app="
CANNOT = 3
"""Exit status: this machine does not let us make a sandbox."""
HINT = """\
This shell is in a sandbox: a network namespace of its own with a private Open vSwitch and an ofctl agent.
Nothing of the host is touched, and `exit` removes everything. To try:

  ofctl network apply demo --subnet 192.0.2.0/24
  ip netns add red
  ofctl port plug red --network demo --netns red --ip 192.0.2.11
  ofctl port plug vm1 --network demo --vm --ip 192.0.2.12
  ofctl port list ; ofctl port show red
  ovs-ofctl -O OpenFlow15 --names dump-flows br-int ; ovs-vsctl show
  ip netns exec red ip addr

The agent writes to {log}, the switch to {switch_log}.
"""


def main(argv: Sequence[str]) -> int:
    """Run the sandbox of a command line whose options `--app=ENTRY` come before its command."""
    words = list(argv)
    apps = []
    while words and words[0].startswith(APP):
        apps.append(words.pop(0).removeprefix(APP))
    return run(words, apps=apps)


def run(command: Sequence[str] = (), *, apps: Sequence[str] = ()) -> int:
    """Start a sandbox, run a shell in it (or `command`), stop it; return the exit status of what ran.

    `apps` are entries as in `[apps] load`. Outside of the namespaces this replaces the process (see
    `ofctl.sandbox.isolation.enter`).
    """
    try:
        enter(["-m", "ofctl.sandbox", *(f"{APP}{app}" for app in apps), *command])
    except NotPossible as problem:
        print(f"ofctl sandbox: {problem}", file=sys.stderr)
        return CANNOT
    exit_on_signals()
    try:
        with StateDirectory() as state, Sandbox(RUN, state=state, apps=apps) as sandbox:
            if not command and sys.stdin.isatty():
                log = sandbox.ovs.rundir / "ovs-vswitchd.log"
                print(HINT.format(log=sandbox.agent_log, switch_log=log), file=sys.stderr)
            argv = list(command) or [os.environ.get("SHELL", "/bin/sh")]
            return subprocess.run(argv, env=shell_environment(sandbox), check=False).returncode
    except ProcessFailed as problem:
        print(f"ofctl sandbox: {problem}", file=sys.stderr)
        return 1


def shell_environment(sandbox: Sandbox) -> Mapping[str, str]:
    """Return the environment in which `ofctl` and the programs of OVS find the sandbox."""
    variables = environment(sandbox.ovs.rundir)
    programs = Path(sys.executable).parent
    return {
        **variables,
        "PATH": f"{programs}:{variables['PATH']}",
        "OFCTL_CONNECT": sandbox.target,
        "PS1": r"(ofctl sandbox) \w \$ ",
    }
