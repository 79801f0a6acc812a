"""What the README shows works as it stands there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
TIMEOUT_S = 60


def in_sandbox(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ofctl.sandbox", *command],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_client_example(tmp_path: Path) -> None:
    example = README.split("```python\n")[1].split("```")[0]
    assert len(example.strip().splitlines()) <= 10
    (tmp_path / "example.py").write_text(example)
    said = in_sandbox(sys.executable, str(tmp_path / "example.py"))
    assert "give QEMU the TAP tap" in said
    assert "confirmed: port 1 of the switch, " in said


def test_the_example_of_a_rule(tmp_path: Path) -> None:
    plug, rules = (part.split("```")[0] for part in README.split("```python\n")[1:3])
    assert "    # ... run the guest ...\n" in plug
    meanwhile = [line for line in rules.splitlines() if line.startswith("    ")]
    shown = "    print(*(confirmed.confirmation.flow_count for confirmed in ofctl.ports()))"
    body = plug.replace("    # ... run the guest ...", "\n".join([*meanwhile, shown]))
    (tmp_path / "example.py").write_text(f"{rules.splitlines()[0]}\n{body}")
    unfiltered, filtered = in_sandbox(sys.executable, str(tmp_path / "example.py")).splitlines()[-2:]
    assert int(filtered) > int(unfiltered.split()[-2])


def test_the_command_line() -> None:
    section = README.split("## The command line\n")[1].split("\n## ")[0]
    commands = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    assert len(commands) == 10
    said = in_sandbox("sh", "-ec", "\n".join(commands))
    assert "web-1" in said


@pytest.mark.parametrize(
    "document", ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
)
def test_links_lead_somewhere(document: str) -> None:
    for link in (ROOT / document).read_text().split("](")[1:]:
        target = link.split(")")[0].split("#")[0]
        if target and "://" not in target:
            assert ((ROOT / document).parent / target).exists(), f"{document}: {target}"
