"""`ofctl config check`: what would keep the agent from starting is said before it is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ofctl.cli.main import cli

ROOT = Path(__file__).parents[3]
GUARD = ROOT / "examples/feature_guard/ofctl_guard/__init__.py"
LEARN = ROOT / "examples/guests/learning_switch.py"


def check(tmp_path: Path, text: str, *words: str) -> tuple[int, str]:
    file = tmp_path / "ofctl.conf"
    file.write_text(text)
    done = CliRunner().invoke(cli, ["config", "check", "--config-file", str(file), *words])
    return done.exit_code, done.output


def test_apps_and_guests_are_listed(tmp_path: Path) -> None:
    status, output = check(tmp_path, f"[apps]\nload = {GUARD}\n", "--app", f"l={LEARN}@br-l", "--app", str(LEARN))
    assert status == 0, output
    rows = [line.split() for line in output.splitlines()]
    assert rows[1][:2] == ["guard", "feature"]
    assert rows[2][:3] == ["l", "guest", "br-l"]
    assert rows[3][:3] == ["learning_switch", "guest", "fence:from-port"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[apps]\nload = /no/such/app.py\n", "app /no/such/app.py cannot be loaded: there is no file"),
        (f"[apps]\nload = {GUARD}\n[app:guard]\ntcp_ports = x\n", "app guard cannot be loaded: "),
        (f"[apps]\nload = {LEARN}@br-int\n", "write @fence:from-port or @fence:to-port"),
        ("[agent]\nbrigde = br0\n", "[agent] has no option brigde"),
    ],
)
def test_what_is_wrong_is_said_and_is_the_exit_status(tmp_path: Path, text: str, problem: str) -> None:
    status, output = check(tmp_path, text)
    assert status not in (0, 2) and problem in output
