"""The database of the intents as a service: made, converted, served; never downgraded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ofctl import database
from ofctl.sandbox.processes import Child

SERVE = "import sys; from ofctl.database import main; sys.exit(main())"


@pytest.fixture
def older_schema(tmp_path: Path) -> Path:
    """The schema as it may have been before: version 0.9.0, and no labels."""
    schema = json.loads(database.schema_file().read_text())
    schema["version"] = "0.9.0"
    del schema["tables"]["Binding"]["columns"]["labels"]
    file = tmp_path / "older.ovsschema"
    file.write_text(json.dumps(schema))
    return file


def tool(*arguments: str) -> str:
    return subprocess.run(["ovsdb-tool", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_a_file_is_made_once(tmp_path: Path) -> None:
    file = tmp_path / "new" / "ofctl.db"
    assert "created" in database.prepare(file)
    made = file.read_bytes()
    assert "has schema" in database.prepare(file)
    assert file.read_bytes() == made


def test_an_older_file_is_converted_and_keeps_its_rows(tmp_path: Path, older_schema: Path) -> None:
    file = tmp_path / "ofctl.db"
    tool("create", str(file), str(older_schema))
    row = {"op": "insert", "table": "Host", "row": {"host_id": "h1"}}
    tool("transact", str(file), json.dumps(["ofctl", row]))
    assert "converted" in database.prepare(file)
    assert tool("db-version", str(file)) == tool("schema-version", str(database.schema_file()))
    query = {"op": "select", "table": "Host", "where": [], "columns": ["host_id"]}
    assert "h1" in tool("query", str(file), json.dumps(["ofctl", query]))


def test_a_newer_file_is_refused(tmp_path: Path, older_schema: Path) -> None:
    file = tmp_path / "ofctl.db"
    older_schema.write_text(older_schema.read_text().replace("0.9.0", "99.0.0"))
    tool("create", str(file), str(older_schema))
    with pytest.raises(database.DatabaseFailed, match=r"newer than .* install the newer version"):
        database.prepare(file)


def with_hosts(file: Path) -> list[int]:
    """Make a database with three transactions; return where each begins."""
    tool("create", str(file), str(database.schema_file()))
    begins = []
    for number in range(3):
        begins.append(file.stat().st_size)
        row = {"op": "insert", "table": "Host", "row": {"host_id": f"h{number}"}}
        tool("transact", str(file), json.dumps(["ofctl", row]))
    return begins


def hosts(file: Path) -> set[str]:
    query = {"op": "select", "table": "Host", "where": [], "columns": ["host_id"]}
    (answer,) = json.loads(tool("query", str(file), json.dumps(["ofctl", query])))
    return {row["host_id"] for row in answer["rows"]}


def test_a_damaged_file_is_not_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ovsdb-server would serve what is before the damage: the ports after it would be removed as leftovers."""
    file = tmp_path / "ofctl.db"
    begins = with_hosts(file)
    content = file.read_bytes().replace(b'"h1"', b'"hX"')
    file.write_bytes(content)
    assert database.main(["serve", "--file", str(file), "--socket", str(tmp_path / "s")]) == 1
    said = capsys.readouterr().err
    assert f"is damaged at byte {begins[1]} and is not served" in said and "Repair" in said
    assert file.read_bytes() == content
    # The documented repair: keep what is before the damage.
    with file.open("r+b") as opened:
        opened.truncate(begins[1])
    database.prepare(file)
    assert hosts(file) == {"h0"}


@pytest.mark.parametrize("tail", [b"OVSDB JSON 500 ", b"\0" * 4096, None])
def test_a_write_that_was_not_finished_is_cut_off(tmp_path: Path, tail: bytes | None) -> None:
    file = tmp_path / "ofctl.db"
    begins = with_hosts(file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-20] if tail is None else whole + tail)
    assert database.prepare(file).startswith(f"cut {-20 + len(whole) - begins[2] if tail is None else len(tail)} bytes")
    assert hosts(file) == ({"h0", "h1"} if tail is None else {"h0", "h1", "h2"})
    assert "cut" not in database.prepare(file)


def test_a_newer_minor_is_served_as_it_is(tmp_path: Path, older_schema: Path) -> None:
    file = tmp_path / "ofctl.db"
    older_schema.write_text(older_schema.read_text().replace("0.9.0", "1.99.0"))
    tool("create", str(file), str(older_schema))
    assert database.prepare(file) == f"{file} has schema 1.99.0"
    assert tool("db-version", str(file)) == "1.99.0"


def test_what_is_no_database_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ofctl.db"
    file.write_text("no database")
    assert database.main(["create", "--file", str(file)]) == 1
    assert "ofctl-database: ovsdb-tool db-version" in capsys.readouterr().err
    assert file.read_text() == "no database"


def test_it_is_served_on_its_socket_for_owner_and_group(rundir: Path) -> None:
    file, socket = rundir / "ofctl.db", rundir / "s" / "db.sock"
    argv = [sys.executable, "-c", SERVE, "serve", "--file", str(file), "--socket", str(socket)]
    server = Child(argv, log=rundir / "log")
    try:
        server.wait_for_socket(socket)
        listing = subprocess.run(
            ["ovsdb-client", "list-dbs", f"unix:{socket}"], check=True, capture_output=True, text=True
        ).stdout
        assert "ofctl" in listing.split()
        assert socket.stat().st_mode & 0o777 == 0o770
    finally:
        server.stop()
