"""The sdist and the wheel have what they need, built from a tree without generated files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GENERATED = {
    f"ofctl/v1/{name}_pb2{kind}" for name in ("port", "network", "host") for kind in (".py", ".pyi", "_grpc.py")
}


@pytest.fixture
def source(rundir: Path) -> Path:
    """A copy of the source tree as it is in the repository."""
    tree = rundir / "source"
    tree.mkdir()
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tree)
    for directory in ("ofctl", "protos"):
        shutil.copytree(ROOT / directory, tree / directory, ignore=shutil.ignore_patterns("*_pb2*", "__pycache__"))
    return tree


def test_sdist_and_wheel_build_and_the_stubs_are_in_the_wheel(source: Path) -> None:
    dist = source.parent / "dist"
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert "protos/ofctl/v1/port.proto" in names and not names & GENERATED
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) >= GENERATED | {"ofctl/py.typed", "ofctl/scaffold/guest/app.py.in"}
    assert not list((source / "ofctl" / "v1").glob("*_pb2*")), "a build leaves nothing in the source tree"
    imported = subprocess.run(
        [sys.executable, "-c", "import ofctl.client; print(ofctl.client.__file__)"],
        env={**os.environ, "PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd="/",
    )
    assert str(wheel) in imported.stdout
