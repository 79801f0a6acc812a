"""`ofctl app new`: what it makes installs into a fresh environment, is found by its name, and passes its test."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ofctl.cli.app import app

ROOT = Path(__file__).parents[3]


def new(name: str, directory: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["new", name, "--directory", str(directory), *options])


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of a fresh environment that has ofctl and what it needs, as the one of the tests has them."""
    place = tmp_path / "venv"
    venv.create(place, symlinks=True)
    site = place / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "ofctl.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    return place / "bin" / "python"


def run(*argv: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in argv], cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_new_app_and_the_examples_install_and_the_app_passes_its_test_in_a_fresh_environment(
    tmp_path: Path, python: Path
) -> None:
    made = new("my-app", tmp_path)
    assert made.exit_code == 0, made.output
    root = tmp_path / "ofctl-my-app"
    assert str(root / "ofctl_my_app" / "__init__.py") in made.output
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    examples = [
        shutil.copytree(ROOT / "examples" / name, tmp_path / name)
        for name in ("feature_guard", "feature_echo", "binder")
    ]
    offline = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    run(*pip, "install", *offline, root, *examples, cwd=tmp_path)
    look = (
        "from ofctl.apps.loading import find_apps; "
        "print(*find_apps(['my-app', 'guard', 'echo', 'tor'], bridge='br-int').classes, sep='\\n')"
    )
    found = [
        "<class 'ofctl_my_app.MyApp'>",
        "<class 'ofctl_guard.Guard'>",
        "<class 'ofctl_echo.Echo'>",
        "<class 'ofctl_tor.TorBinder'>",
    ]
    assert run(python, "-c", look, cwd=tmp_path).splitlines() == found
    assert "3 passed" in run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=root)


def test_a_new_guest_installs_and_passes_its_test_on_a_private_switch(tmp_path: Path, python: Path) -> None:
    made = new("my-guest", tmp_path, "--guest")
    assert made.exit_code == 0, made.output
    root = tmp_path / "ofctl-my-guest"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", root, cwd=tmp_path)
    assert "1 passed" in run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=root)


def test_a_name_that_is_none_and_a_directory_that_is_there(tmp_path: Path) -> None:
    wrong = new("My App", tmp_path)
    assert wrong.exit_code == 2 and "is no name of an app" in wrong.output
    assert new("twice", tmp_path).exit_code == 0
    again = new("twice", tmp_path)
    assert again.exit_code == 1 and "File exists" in again.output
