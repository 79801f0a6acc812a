"""Runs a program as an unprivileged user of a machine as distributions ship it: `unprivileged.py MODE COMMAND...`

Started as root in a mount namespace of its own (`unshare --mount`), so that the host sees nothing of it: there
/dev/net/tun is a node with permissions MODE, and the interpreter and the checkout are within reach even if they are
below a closed directory such as /root.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

UID = 4242
"""Of nobody in particular."""
CHECKOUT = Path(__file__).resolve().parents[3]


def mount(*arguments: str, descriptors: tuple[int, ...] = ()) -> None:
    subprocess.run(["mount", *arguments], check=True, pass_fds=descriptors)


def bind_tun(mode: int) -> None:
    """Put a node of our own over /dev/net/tun."""
    directory = Path(tempfile.mkdtemp())
    mount("-t", "tmpfs", "-o", "dev", "tmpfs", str(directory))
    node = directory / "tun"
    os.mknod(node, mode | 0o020000, os.makedev(10, 200))
    node.chmod(mode)
    mount("--bind", str(node), "/dev/net/tun")
    subprocess.run(["umount", "--lazy", str(directory)], check=True)
    directory.rmdir()


def open_the_way(paths: list[Path]) -> None:
    """Cover directories that others may not search by empty ones that have only the way to `paths`."""
    descriptors = {path: os.open(path, os.O_PATH) for path in paths}
    covered: set[Path] = set()
    for path, descriptor in descriptors.items():
        closed = [parent for parent in reversed(path.parents) if not parent.stat().st_mode & 0o001]
        inside = [cover for cover in covered if path.is_relative_to(cover)]
        if not closed and not inside:
            continue
        if closed and not inside:
            mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(closed[0]))
            covered.add(closed[0])
        path.mkdir(parents=True, exist_ok=True)
        mount("--no-canonicalize", "--bind", f"/proc/self/fd/{descriptor}", str(path), descriptors=(descriptor,))


def main() -> None:
    mode, *command = sys.argv[1:]
    bind_tun(int(mode, 8))
    open_the_way(sorted({Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), CHECKOUT}))
    os.chdir("/")
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    os.execvpe(command[0], command, {**os.environ, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"})


if __name__ == "__main__":
    main()
