"""Group [guests] of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from ofctl.config import load
from ofctl.errors import ConfigError
from ofctl.settings import GuestSettings, GuestSpec


def read(directory: Path, text: str) -> GuestSettings:
    file = directory / "ofctl.conf"
    file.write_text(f"[guests]\n{text}\n")
    return load(["--config-file", str(file)]).guests


def test_files_modules_and_what_belongs_to_them(tmp_path: Path) -> None:
    source = tmp_path / "switch.py"
    source.touch()
    settings = read(
        tmp_path,
        f"run = a={source}@br-a, b=package.module@br-b\nhttp = a:127.0.0.1:8080, b:/run/b.sock\n"
        f"config_files = b:{source}",
    )
    assert settings.run == (
        GuestSpec(name="a", source=str(source), bridge="br-a"),  # type: ignore[arg-type]
        GuestSpec(name="b", source="package.module", bridge="br-b"),  # type: ignore[arg-type]
    )
    assert settings.http == {"a": "127.0.0.1:8080", "b": "/run/b.sock"}
    assert settings.config_files == {"b": source}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("run = a=module", "write NAME=SOURCE@BRIDGE"),
        ("run = module@br-a", "write NAME=SOURCE@BRIDGE"),
        ("run = a=/no/such/file.py@br-a", "cannot be read"),
        ("run = a=relative.py@br-a", "absolute path"),
        ("run = a=m@br-int", "the integration bridge"),
        ("run = a=m@a-name-that-is-too-long", "run"),
        ("run = a=m@br-a, a=n@br-b", "two guests with the name 'a'"),
        ("run = a=m@br-a, b=n@br-a", "two guests with the bridge 'br-a'"),
        ("run = a=m@br-a\nhttp = a:0.0.0.0:8080", "open to the network"),
        ("run = a=m@br-a\nhttp = b:127.0.0.1:8080", "names 'b'"),
        ("run = a=m@br-a\nconfig_files = a:/no/such/file", "cannot be read"),
    ],
)
def test_what_is_wrong_is_said_in_the_name_of_the_option(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=r"^\[guests\] ") as refused:
        read(tmp_path, text)
    assert problem in str(refused.value)
