"""Chaos in its short form; `make chaos` runs the long one."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("seed", "plugs"), [(7, 60), pytest.param(11, 10_000, marks=pytest.mark.chaos)])
def test_no_reply_lies_and_nothing_is_left(seed: int, plugs: int) -> None:
    argv = [sys.executable, "-m", "tests.chaos", "--seed", str(seed), "--plugs", str(plugs)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60 + plugs / 2, check=False)
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
