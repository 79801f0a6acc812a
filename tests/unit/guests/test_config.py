"""Group [guests] of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from ofctl.config import load
from ofctl.errors import ConfigError
from ofctl.settings import GuestSettings, GuestSpec


def read(directory: Path, load_apps: str, text: str = "") -> GuestSettings:
    file = directory / "ofctl.conf"
    file.write_text(f"[apps]\nload = {load_apps}\n[guests]\n{text}\n")
    return load(["--config-file", str(file)]).guests


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "switch.py"
    file.write_text("from ryu.base import app_manager\n")
    return file


def test_guests_and_what_belongs_to_them(tmp_path: Path, source: Path) -> None:
    settings = read(
        tmp_path,
        f"a={source}@br-a, {source}",
        f"http = a:127.0.0.1:8080, switch:/run/b.sock\nconfig_files = switch:{source}\ndatapath_ids = a:0x1f",
    )
    assert settings.run == (
        GuestSpec(name="a", source=str(source), bridge="br-a"),  # type: ignore[arg-type]
        GuestSpec(name="switch", source=str(source), bridge="br-int", fence="from-port"),  # type: ignore[arg-type]
    )
    assert settings.http == {"a": "127.0.0.1:8080", "switch": "/run/b.sock"}
    assert settings.config_files == {"switch": source}
    assert settings.datapath_ids == {"a": 0x1F}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http = a:0.0.0.0:8080", "open to the network"),
        ("http = b:127.0.0.1:8080", "names 'b', which is no guest of [apps] load"),
        ("config_files = a:/no/such/file", "cannot be read"),
        ("datapath_ids = a:0001", "'0001'; a number is expected"),
        ("datapath_ids = a:0", "not 0 and has 64 bits"),
        ("datapath_ids = a:0x10000000000000000", "not 0 and has 64 bits"),
        ("datapath_ids = switch:1", "no bridge of its own"),
    ],
)
def test_what_is_wrong_is_said_in_the_name_of_the_option(tmp_path: Path, source: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=r"^\[guests\] ") as refused:
        read(tmp_path, f"a={source}@br-a, {source}", text)
    assert problem in str(refused.value)


def test_run_is_no_option(tmp_path: Path, source: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[guests\] has no option run"):
        read(tmp_path, "", f"run = a={source}@br-a")
