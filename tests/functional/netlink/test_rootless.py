"""As uid 0 of a user namespace, without a capability outside of it.

The device file belongs to another user, so that only its mode opens it.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
DEVICE_NUMBER = os.makedev(10, 200)


def drive(tun_path: Path) -> Any:
    done = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--net"),
            *(sys.executable, "-m", "tests.functional.netlink.rootless_driver", str(tun_path)),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if "unshare failed" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("mode", [0o666, 0o600])
def test_without_root(rundir: Path, mode: int) -> None:
    rundir.chmod(0o755)
    tun = rundir / "tun"
    os.mknod(tun, stat.S_IFCHR | mode, DEVICE_NUMBER)
    tun.chmod(mode)
    os.chown(tun, NOBODY, NOBODY)
    seen = drive(tun)
    if mode == 0o666:
        assert seen == {"tap": [True, 0], "owned": ["tap-1", "veth-1"], "left": 0}
    else:
        reason, message = seen["tap"]
        assert reason == "TUN_FORBIDDEN" and "0666" in message
        assert seen["owned"] == ["veth-1"] and seen["left"] == 0
