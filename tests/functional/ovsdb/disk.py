"""A database on a disk that takes no writes when the test says so."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ofctl.sandbox.ovs import OvsdbServer, environment, run
from ofctl.sandbox.processes import Child

SIZE_KIB = 512
SERVE = """
trap '' XFSZ
mount -t tmpfs -o size="$1"k tmpfs "$2" && cp "$3" "$2"/ && shift 3 && exec ovsdb-server "$@"
"""
"""A write beyond RLIMIT_FSIZE gives EFBIG when SIGXFSZ is ignored (setrlimit(2)); exec keeps that."""


class SmallDiskServer(OvsdbServer):
    """An ovsdb-server whose file is on a tmpfs of 512 KiB that it alone sees, and that goes with it."""

    def start(self) -> None:
        """Create the database on a new disk, start the server, block until it listens."""
        self.directory.mkdir(parents=True, exist_ok=True)
        seed, disk = self.directory / f"{self.name}.db", self.directory / "disk"
        run(["ovsdb-tool", "create", str(seed), str(self.schema)])
        disk.mkdir()
        served = [str(disk / seed.name), f"--remote=punix:{self.socket}", f"--unixctl={self.control}", "--no-chdir"]
        self.child = Child(
            [
                *("unshare", "--mount", "--propagation", "private", "sh", "-c", SERVE, "sh"),
                *(str(SIZE_KIB), str(disk), str(seed)),
                *served,
                "-vconsole:warn",
            ],
            log=self.directory / f"{self.name}.log",
            env=environment(self.directory),
        )
        self.child.wait_for_socket(self.socket)

    @property
    def _disk(self) -> Path:
        """The disk as seen from outside (proc(5), /proc/PID/root)."""
        assert self.child is not None
        return Path(f"/proc/{self.child.pid}/root{self.directory}/disk")

    @property
    def size(self) -> int:
        """Bytes in the database's file."""
        return (self._disk / f"{self.name}.db").stat().st_size

    def fill(self) -> None:
        """Leave no byte: neither a free page, nor the rest of the file's last one."""
        with (self._disk / "ballast").open("wb", buffering=0) as ballast:
            try:
                while ballast.write(b"\0" * 4096):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Give the space back."""
        os.unlink(self._disk / "ballast")

    def refuse_writes(self) -> None:
        """Let every write that makes the file longer fail."""
        assert self.child is not None
        run(["prlimit", f"--pid={self.child.pid}", f"--fsize={self.size}:unlimited"])

    def take_writes(self) -> None:
        """End what `refuse_writes` began."""
        assert self.child is not None
        run(["prlimit", f"--pid={self.child.pid}", "--fsize=unlimited:unlimited"])
