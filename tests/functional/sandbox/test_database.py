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
