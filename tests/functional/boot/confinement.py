"""Starts a program as the unit's hardening has systemd start it: capabilities, system calls, address families.

systemd itself cannot run in a test, so the kernel is asked for the same things by setpriv(1) and libseccomp:
CapabilityBoundingSet, NoNewPrivileges, SystemCallFilter and RestrictAddressFamilies (systemd.exec(5)).

    python confinement.py CAPABILITIES SYSTEM_CALLS FAMILIES PROGRAM [ARGUMENT]...
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterable

ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM
"""SCMP_ACT_ERRNO, with what SystemCallErrorNumber says in the units."""
EQUAL = 4


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp of seccomp.h."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("other", ctypes.c_uint64),
    )


def system_calls(group: str) -> set[str]:
    """Return the system calls in a group of systemd's, such as @system-service."""
    argv = ["systemd-analyze", "syscall-filter", "--no-pager"]
    printed = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout
    groups: dict[str, list[str]] = {}
    for line in printed.splitlines():
        if line.startswith("@"):
            members = groups.setdefault(line.strip(), [])
        elif line.startswith(" ") and not line.lstrip().startswith("#"):
            members.append(line.strip())
    found: set[str] = set()
    pending = [group]
    while pending:
        for member in groups[pending.pop()]:
            if member.startswith("@"):
                pending.append(member)
            else:
                found.add(member)
    return found


def restrict(calls: Iterable[str], families: Iterable[str]) -> None:
    """Let this process and what it becomes make these system calls alone, and sockets of these families."""
    library = ctypes.CDLL(ctypes.util.find_library("seccomp"), use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(REFUSE))
    for call in calls:
        number = library.seccomp_syscall_resolve_name(call.encode())
        if call != "socket" and number >= 0:
            assert library.seccomp_rule_add_array(context, ALLOW, number, 0, None) == 0
    make_socket = library.seccomp_syscall_resolve_name(b"socket")
    for family in families:
        only = _Comparison(0, EQUAL, getattr(socket, family), 0)
        assert library.seccomp_rule_add_array(context, ALLOW, make_socket, 1, ctypes.byref(only)) == 0
    assert library.seccomp_load(context) == 0


def main() -> None:
    capabilities, calls, families, *program = sys.argv[1:]
    names = ["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in capabilities.split())]
    restrict({*calls.split(), "prctl", "capset", "setgroups", "execve"}, families.split())
    argv = ["setpriv", f"--bounding-set={','.join(names)}", "--inh-caps=-all", "--no-new-privs", "--", *program]
    os.execvp("setpriv", argv)


if __name__ == "__main__":
    main()
