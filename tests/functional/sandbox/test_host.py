"""`make run`: the agent against the host's own Open vSwitch, at the default paths."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from ofctl.sandbox.processes import listens

TIMEOUT_S = 60
HOST = """
import signal, subprocess, sys
from pathlib import Path
from ofctl.client import Client
from ofctl.sandbox.isolation import RUN, enter
from ofctl.sandbox.ovs import PrivateOvs
enter([PROGRAM])
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/var/lib"], check=True)
ovs = PrivateOvs(RUN / "openvswitch")
ovs.start()
for attempt in range(2):
    host = subprocess.Popen([sys.executable, "-m", "ofctl.sandbox.host"])
    with Client() as client:
        client.wait_until_ready(timeout_s=30)
        print("networks", [network.network_id for network in client.networks()])
        subprocess.run([Path(sys.executable).with_name("ofctl"), "network", "apply", "kept"], check=True)
    host.send_signal(signal.SIGTERM)
    print("ended", host.wait(20))
    print("left", [path.name for path in (RUN / "ofctl").glob("*.sock") if listens(path)])
ovs.stop()
"""


def test_it_says_how_to_start_a_switch_that_does_not_run() -> None:
    command = [sys.executable, "-m", "ofctl.sandbox.host"]
    with tempfile.TemporaryDirectory() as empty:
        config = Path(empty, "ofctl.conf")
        config.write_text(f"[ovsdb]\nconnection = unix:{empty}/db.sock\n")
        done = subprocess.run(
            [*command, "--config-file", str(config)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    assert done.returncode == 2
    assert f"does not answer on unix:{empty}/db.sock. Start it: " in done.stderr


def test_it_serves_at_the_default_places_and_keeps_the_intents(rundir: Path) -> None:
    program = rundir / "host.py"
    imports = "from ofctl.sandbox.processes import listens\n"
    program.write_text(imports + HOST.replace("PROGRAM", repr(str(program))))
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = done.stdout.split("networks")[1:]
    assert first.startswith(" []")
    assert second.startswith(" ['kept']")
    assert done.stdout.count("left []") == 2
    assert not listens(rundir / "nothing")
