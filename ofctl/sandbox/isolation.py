"""Namespaces of our own: everything that a sandbox makes is out of the host's sight and gone with its last process.

A process cannot move all its threads at once (unshare(2), setns(2)), so the program starts anew through unshare(1): in
a network and a mount namespace, and, without root, in a user namespace in which it is root. There /run is an empty
tmpfs: the default paths of Open vSwitch and of ofctl lead into the sandbox, `ip netns` works, and nothing needs to be
cleaned up, not even after SIGKILL.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

INSIDE = "OFCTL_SANDBOX"
"""Environment variable that tells the program that it has been started anew."""
RUN = Path("/run")
TUN = Path("/dev/net/tun")
COMMAND_TIMEOUT_S = 10


class NotPossible(Exception):
    """This machine does not let us make a sandbox; the message says what is missing and the cure."""


def inside() -> bool:
    """Tell whether this process runs in namespaces made by `enter`."""
    return os.environ.get(INSIDE) == "1"


def enter(argv: Sequence[str], *, environment: Mapping[str, str] | None = None) -> None:
    """Make this process a sandbox's first one.

    Outside, replaces the process by the Python program `argv` (such as `["-m", "ofctl.demo"]`) inside of namespaces of
    its own, with `environment` added, and does not return. Inside, prepares them and returns. Raises NotPossible.
    """
    if inside():
        _prepare()
        return
    check()
    os.execvpe(
        "unshare",
        [*_unshare(), sys.executable, *argv],
        {**os.environ, **(environment or {}), "PATH": _path(), INSIDE: "1"},
    )


def check() -> None:
    """Raise NotPossible unless namespaces and TAP devices are there for this user."""
    done = subprocess.run(
        [*_unshare(), "true"],
        env={**os.environ, "PATH": _path()},
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip()
        cure = ""
        if os.geteuid():
            cure = (
                ". Run as root, or let users make namespaces: sysctl user.max_user_namespaces, "
                "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns"
            )
        elif "not permitted" in said:
            cure = ". This container lacks CAP_SYS_ADMIN: start it privileged, or run outside of it"
        raise NotPossible(f"no network namespace can be made: {said}{cure}")
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        raise NotPossible(_tun_problem(error)) from None


def _tun_problem(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        mode = TUN.stat().st_mode & 0o7777
        return (
            f"{TUN} has mode {mode:04o}, so user {os.geteuid()} cannot make TAP devices, not even in a namespace of "
            f"its own; distributions ship 0666. As root: chmod 0666 {TUN}"
        )
    return (
        f"{TUN} cannot be opened ({error.strerror}). As root: modprobe tun; or, in a container that has none: "
        f"mkdir -p {TUN.parent} && mknod -m 0666 {TUN} c 10 200"
    )


def _unshare() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *user, "--net", "--mount", "--"]


def _path() -> str:
    """Return PATH with the directories of the system's programs, which an unprivileged user's may lack."""
    directories = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":")
    return ":".join([*directories, *(name for name in ("/usr/sbin", "/sbin") if name not in directories)])


def _prepare() -> None:
    """Bring up the loopback and put an empty /run in place of the host's. unshare(1) has made the mounts private."""
    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["mount", "-t", "tmpfs", "-o", "mode=0755,size=64m", "tmpfs", str(RUN)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
        if done.returncode:
            raise NotPossible(f"{' '.join(command)} failed: {done.stderr.strip()}")
