"""docs/pipeline.md is what the declaration says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ofctl.pipeline import document
from ofctl.pipeline.tables import PRIORITIES, TABLES, Priority

ROOT = Path(__file__).parents[3]


def test_the_document_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert document.main(["--check"]) == 0, "run: python -m ofctl.pipeline.document"


def test_a_stale_or_missing_document_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (document.EXAMPLE, document.DOCUMENT):
        path.parent.mkdir(parents=True)
    document.EXAMPLE.write_text("table=classify actions=drop\n")
    assert document.main(["--check"]) == 1
    assert document.main([]) == 0 and document.main(["--check"]) == 0
    text = document.DOCUMENT.read_text()
    assert all(f"`{table.name}`" in text for table in TABLES) and "table=classify actions=drop" in text
    document.DOCUMENT.write_text(text + "edited\n")
    assert document.main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err


def test_every_priority_is_explained() -> None:
    assert set(PRIORITIES) == set(Priority)
