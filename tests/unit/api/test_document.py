"""The pages on errors and exit statuses say what the code says."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import grpc

from ofctl import errors
from ofctl.api.document import START_ONLY, classes, main, render
from ofctl.cli.session import EXIT_STATUS
from ofctl.client import errors as client_errors

ROOT = Path(__file__).parents[3]


def test_the_table_names_every_class_and_code() -> None:
    text = render()
    for _, kind in classes():
        assert f"`{kind.__name__}` | {'at start only' if kind in START_ONLY else kind.code} |" in text
    assert errors.SwitchRejected in {kind for _, kind in classes()}
    assert "| MAC_IN_USE | ALREADY_EXISTS |" in text


def test_check_tells_a_stale_page(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "errors.md"
    page.parent.mkdir()
    with contextlib.chdir(tmp_path):
        assert main(["--check"]) == 1
        assert main([]) == 0
        assert main(["--check"]) == 0
        page.write_text(page.read_text().replace("NOT_OWNER", "OWNER"))
        assert main(["--check"]) == 1


def test_every_code_has_an_exit_status_and_a_client_class() -> None:
    codes = {kind.code for _, kind in classes()}
    assert codes <= EXIT_STATUS.keys()
    assert codes <= {code.name for code in client_errors._CLASSES}
    assert all(grpc.StatusCode[code] for code in EXIT_STATUS)


def test_the_documented_exit_statuses_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    rows = re.findall(r"^\| (\d+) \| [^|]* \| ([^|]*) \|$", page, re.MULTILINE)
    documented = {code: int(status) for status, names in rows for code in re.findall(r"[A-Z_]{4,}", names)}
    assert documented == EXIT_STATUS
