"""kill -9 at every meeting with the kernel: nothing is left that the next agent takes for somebody else's."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("kind", "least"), [("tap", 8), ("veth", 10)])
def test_every_death_is_survived(netns: None, kind: str, least: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.functional.netlink.crash_driver", kind],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    *deaths, last = reports
    assert last["status"] == 0 and len(deaths) >= least
    assert all(report["status"] == signal.SIGKILL for report in deaths)
    for report in reports:
        assert all(alias == "ofctl:host-1:port-1" for _, alias in report["left"]), report
        assert ["dev-1", "ofctl:host-1:port-1"] in report["found"] and report["up"], report
        assert len(report["found"]) == 1, report
    assert any(report["left"] for report in deaths), "some death came after the device was there"
