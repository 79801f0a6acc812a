"""A private Open vSwitch: ovsdb-server and ovs-vswitchd with a run directory of their own.

With the userspace datapath one ovs-vswitchd fits in one network namespace (its `ovs-netdev` device is exclusive):
give each its own. Nothing of the host's switch is read or touched.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from ofctl.sandbox.processes import Child, ProcessFailed

SCHEMA_DIRECTORY = Path("/usr/share/openvswitch")
COMMAND_TIMEOUT_S = 30


class OvsdbServer:
    """An ovsdb-server on one database file, listening on a unix socket."""

    def __init__(self, directory: Path, *, name: str, schema: Path, file: Path | None = None) -> None:
        self.directory = directory
        self.name = name
        self.schema = schema
        self.database = file or directory / f"{name}.db"
        self.socket = directory / f"{name}.sock"
        self.control = directory / f"{name}.ctl"
        self.child: Child | None = None

    @property
    def connection(self) -> str:
        """The OVSDB connection method of the server (ovsdb(7))."""
        return f"unix:{self.socket}"

    def start(self) -> None:
        """Create the database if it is not there, start the server, block until it listens."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.database.exists():
            run(["ovsdb-tool", "create", str(self.database), str(self.schema)])
        for stale in (self.socket, self.control):
            stale.unlink(missing_ok=True)
        self.child = Child(
            [
                "ovsdb-server",
                str(self.database),
                f"--remote=punix:{self.socket}",
                f"--unixctl={self.control}",
                f"--pidfile={self.directory / f'{self.name}.pid'}",
                "--no-chdir",
                "-vconsole:warn",
            ],
            log=self.directory / f"{self.name}.log",
            env=environment(self.directory),
        )
        self.child.wait_for_socket(self.socket)

    def stop(self) -> None:
        """Stop the server; the file stays."""
        if self.child is not None:
            self.child.stop()
            self.child = None

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        assert self.child is not None
        self.child.kill()
        self.child = None


class PrivateOvs:
    """A whole switch in `rundir`. Keep that path short: a unix socket's has at most 107 bytes (unix(7))."""

    def __init__(self, rundir: Path) -> None:
        self.rundir = rundir
        self.database = OvsdbServer(rundir, name="db", schema=SCHEMA_DIRECTORY / "vswitch.ovsschema")
        self.vswitchd: Child | None = None

    def start(self) -> None:
        """Start both daemons; block until the switch has completed its first configuration."""
        self.database.start()
        self.vsctl("--no-wait", "init")
        self.start_vswitchd()

    def start_vswitchd(self) -> None:
        """Start ovs-vswitchd alone; block until it has taken the configuration in the database."""
        for stale in self.rundir.glob("ovs-vswitchd.*.ctl"):
            stale.unlink()
        pidfile = self.rundir / "ovs-vswitchd.pid"
        pidfile.unlink(missing_ok=True)
        self.vswitchd = Child(
            [
                "ovs-vswitchd",
                self.database.connection,
                f"--pidfile={pidfile}",
                f"--log-file={self.rundir / 'ovs-vswitchd.log'}",
                "--no-chdir",
                "-vconsole:off",
                "-vfile:info",
            ],
            log=self.rundir / "ovs-vswitchd.out",
            env=environment(self.rundir),
        )
        self.vswitchd.wait_for_path(pidfile)
        self.vswitchd.wait_for_socket(self.rundir / f"ovs-vswitchd.{pidfile.read_text().strip()}.ctl")
        self.vsctl("set", "Open_vSwitch", ".", "external_ids:started=yes")

    def kill_vswitchd(self) -> None:
        """Kill ovs-vswitchd with SIGKILL; the database stays."""
        assert self.vswitchd is not None
        self.vswitchd.kill()
        self.vswitchd = None

    def freeze_vswitchd(self) -> None:
        """Stop ovs-vswitchd with SIGSTOP: its sockets accept and answer nothing."""
        assert self.vswitchd is not None
        self.vswitchd.signal(signal.SIGSTOP)

    def thaw_vswitchd(self) -> None:
        """Let a frozen ovs-vswitchd go on."""
        assert self.vswitchd is not None
        self.vswitchd.signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop both daemons. Safe to call again, and after a kill."""
        if self.vswitchd is not None:
            self.vswitchd.stop()
            self.vswitchd = None
        self.database.stop()

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl against this switch and return what it printed; raises ProcessFailed."""
        return self.command("ovs-vsctl", f"--db={self.database.connection}", "--timeout=20", *arguments)

    def ovs_ofctl(self, command: str, bridge: str, *arguments: str) -> str:
        """Run ovs-ofctl with OpenFlow 1.5 on a bridge's management socket and return what it printed."""
        return self.command("ovs-ofctl", "-O", "OpenFlow15", command, f"unix:{self.rundir / bridge}.mgmt", *arguments)

    def appctl(self, *arguments: str) -> str:
        """Run ovs-appctl against ovs-vswitchd and return what it printed."""
        pid = (self.rundir / "ovs-vswitchd.pid").read_text().strip()
        return self.command("ovs-appctl", f"--target={self.rundir / f'ovs-vswitchd.{pid}.ctl'}", *arguments)

    def command(self, *argv: str) -> str:
        """Run a command of OVS with this switch's directories in its environment."""
        return run(argv, env=environment(self.rundir))


def environment(rundir: Path) -> dict[str, str]:
    """Return the environment that keeps OVS's programs inside `rundir` (ovs-vswitchd(8), ENVIRONMENT)."""
    directories = dict.fromkeys(("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), str(rundir))
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", **directories}


def run(argv: list[str] | tuple[str, ...], *, env: dict[str, str] | None = None) -> str:
    """Run a short command and return its output; raises ProcessFailed with what it wrote to stderr."""
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=COMMAND_TIMEOUT_S, check=False)
    if done.returncode:
        raise ProcessFailed(f"{' '.join(argv)} exited with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
