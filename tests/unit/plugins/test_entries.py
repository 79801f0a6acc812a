"""What an entry of `[apps] load` says, and how its kind is told without running it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ofctl.apps.entries import read_entry
from ofctl.apps.loading import find_apps
from ofctl.errors import AppRefused
from ofctl.settings import GuestSpec

FEATURE = """
from ofctl.plugin import FeatureApp
class Feature(FeatureApp):
    name = "feature"
    api_version = 1
"""
GUEST = """
from ryu.base import app_manager
raise SystemExit("a guest was imported")
"""


def write(directory: Path, **sources: str) -> None:
    for name, text in sources.items():
        (directory / f"{name}.py").write_text(text)


def guest(name: str, source: Path | str, bridge: str = "br-int", fence: str = "") -> GuestSpec:
    return GuestSpec(name=name, source=str(source), bridge=bridge, fence=fence)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("quiet", ("", "quiet", "", "")),
        ("a.b:C", ("", "a.b", "C", "")),
        ("x=a.b@br-x", ("x", "a.b", "", "br-x")),
        ("/a=b/c@1.2/d.py", ("", "/a=b/c@1.2/d.py", "", "")),
        (" x=/a=b/c@1.2/d.py:C@fence:to-port ", ("x", "/a=b/c@1.2/d.py", "C", "fence:to-port")),
        ("d.py@fence:from-port", ("", "d.py", "", "fence:from-port")),
    ],
)
def test_an_entry_is_taken_apart(text: str, parts: tuple[str, ...]) -> None:
    entry = read_entry(text)
    assert (entry.name, entry.target, entry.member, entry.where) == parts


@pytest.mark.parametrize("text", ["", "=x", "x=", "x@", "x=@br-a", "a=b=c@br-a", "a:b:c"])
def test_what_is_no_entry(text: str) -> None:
    with pytest.raises(AppRefused, match=r"write \[NAME=\]TARGET\[@WHERE\]"):
        read_entry(text)


def test_guests_by_file_and_module_are_found_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "fleet"
    package.mkdir()
    write(package, __init__="raise SystemExit('a package was imported')", switch=GUEST)
    write(tmp_path, lone=GUEST)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = find_apps(["lone.py", "b=fleet.switch@br-b", "c=fleet.switch@fence:to-port"], bridge="br-int")
    assert found.classes == ()
    assert found.guests == (
        guest("lone", tmp_path / "lone.py", fence="from-port"),
        guest("b", "fleet.switch", "br-b"),
        guest("c", "fleet.switch", fence="to-port"),
    )
    assert not {"lone", "fleet", "fleet.switch"} & sys.modules.keys()


def test_entry_points_of_both_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "both-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: both\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        "[ofctl.apps]\nf = eps_feature:Feature\ntwice = eps_feature:Feature\n"
        "[ofctl.guests]\ng = eps_guest\ntwice = eps_guest\n"
    )
    write(tmp_path, eps_feature=FEATURE, eps_guest=GUEST)
    monkeypatch.syspath_prepend(tmp_path)
    found = find_apps(["f", "x=g@br-x"], bridge="br-int")
    assert [app.name for app in found.classes] == ["feature"]
    assert found.guests == (guest("x", "eps_guest", "br-x"),)
    with pytest.raises(AppRefused, match=r"entry points ofctl.apps and ofctl.guests of that name; write its module"):
        find_apps(["twice"], bridge="br-int")


@pytest.mark.parametrize(
    "source",
    [
        "import os_ken.base.app_manager",
        "def late():\n    from ryu.controller import ofp_event",
        "from ryu.lib.packet import packet",
        "from beside import Switch",
        "import ryu",
    ],
)
def test_sources_of_guests(tmp_path: Path, source: str) -> None:
    write(tmp_path, one=source, beside=GUEST)
    assert find_apps([f"{tmp_path}/one.py"], bridge="br-int").guests[0].name == "one"


def test_a_feature_app_may_read_packets_with_os_ken_and_be_in_another_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "split_app"
    package.mkdir()
    write(package, __init__="from .inner import Feature", inner=f"from os_ken.lib.packet import packet\n{FEATURE}")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = find_apps(["feature=split_app:Feature"], bridge="br-int").classes
    assert found.__module__ == "split_app.inner"


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        (["{0}/feature.py@br-a"], "feature.py@br-a cannot be loaded: only guests have a place; .* leave @br-a away"),
        (["{0}/gone.py"], "there is no file .*/gone.py"),
        (["{0}/notes.txt"], "its name must end in .py"),
        (["{0}/both.py"], "both.py imports both ofctl.plugin and ryu: .* make two files of it"),
        (["{0}/neither.py"], "imports neither ofctl.plugin, .* nor ryu or os_ken"),
        (["{0}/broken.py"], "broken.py is no Python source: invalid syntax"),
        (["a={0}/guest.py", "a={0}/guest.py@br-b"], "a=.*/guest.py is named a too; write NAME= before one"),
        (["{0}/feature.py", "feature={0}/guest.py"], "feature.py is named feature too"),
        (["{0}/feature.py", "{0}/feature.py"], "is named feature too; leave one of them away"),
        (["other={0}/feature.py"], "it names itself feature: write that, or leave other= away"),
        (["{0}/guest.py@br-int"], "br-int is the bridge that ofctl owns: write @fence:from-port or @fence:to-port"),
        (["{0}/guest.py@fence:flood"], "there is no fence:flood; write @fence:from-port or @fence:to-port"),
        (["a={0}/guest.py@br-a", "b={0}/guest.py@br-a"], "bridge br-a is that of a=.*; give it one of its own"),
        (["{0}/guest.py:Switch@br-a"], "a guest is a whole file or module: leave :Switch away"),
        (["{0}/guest.py@a-name-that-is-too-long"], "its name or bridge "),
        (["{0}/__init__.py@br-a"], "that file is a package's: write NAME="),
        (["nothing"], "no module nothing, and no installed package has an entry point ofctl.apps or ofctl.guests"),
        (["no.such.module:App"], "there is no module no.such.module"),
        (["json.nothing"], "there is no module json.nothing"),
    ],
)
def test_what_is_wrong_is_said_with_the_entry_and_the_cure(tmp_path: Path, entries: list[str], problem: str) -> None:
    write(
        tmp_path,
        __init__=GUEST,
        feature=FEATURE,
        guest=GUEST,
        both=FEATURE + GUEST,
        neither="import json",
        broken="def",
    )
    (tmp_path / "notes.txt").touch()
    with pytest.raises(AppRefused, match=problem) as refused:
        find_apps([each.format(tmp_path) for each in entries], bridge="br-int")
    assert refused.value.message.startswith(f"app {entries[-1].format(tmp_path)} cannot be loaded: ")
