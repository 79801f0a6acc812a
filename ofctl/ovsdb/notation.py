"""Raw operations and values of OVSDB (RFC 7047, section 5), as plain JSON. Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ofctl.ovsdb.replica import Json

Value = Any


def ovs_set(values: Iterable[Value]) -> Value:
    """Return a set of atoms."""
    return ["set", list(values)]


def ovs_map(pairs: Mapping[Any, Any]) -> Value:
    """Return a map of atoms."""
    return ["map", [[key, value] for key, value in pairs.items()]]


def in_order(values: Iterable[object]) -> Value:
    """Return a map from position to text."""
    return ovs_map({position: str(value) for position, value in enumerate(values)})


def optional(value: Value | None) -> Value:
    """Return a column of at most one atom."""
    return ovs_set(() if value is None else (value,))


def reference(row: uuid.UUID) -> Value:
    """Return a reference to a row that is there."""
    return ["uuid", str(row)]


def named(name: str) -> Value:
    """Return a reference to a row that this transaction inserts under `name`."""
    return ["named-uuid", name]


def row_name(kind: str, identity: str) -> str:
    """Return a name for an inserted row, an identifier as RFC 7047 wants it, different for each identity."""
    return f"{kind}_{identity.encode().hex()}"


def insert(table: str, row: Json, *, name: str) -> Json:
    """Insert a row, known as `name` within the transaction."""
    return {"op": "insert", "table": table, "row": row, "uuid-name": name}


def update(table: str, row: uuid.UUID, columns: Json) -> Json:
    """Set columns of a row."""
    return {"op": "update", "table": table, "where": [is_row(row)], "row": columns}


def delete(table: str, row: uuid.UUID) -> Json:
    """Delete a row."""
    return {"op": "delete", "table": table, "where": [is_row(row)]}


def mutate(table: str, where: list[Value], *mutations: Value) -> Json:
    """Change columns in place; each mutation is [column, mutator, value]."""
    return {"op": "mutate", "table": table, "where": where, "mutations": list(mutations)}


def is_row(row: uuid.UUID) -> Value:
    """Return the condition that is true for one row."""
    return ["_uuid", "==", reference(row)]


def merge(column: str, pairs: Mapping[str, str]) -> tuple[Value, Value]:
    """Return the mutations that give a map these pairs and leave its other keys alone.

    `insert` alone keeps the old value of a key that is there (RFC 7047, section 5.1), hence the `delete` before it.
    """
    return [column, "delete", ovs_set(pairs)], [column, "insert", ovs_map(pairs)]


def unsendable(operations: list[Json]) -> bool:
    """Tell whether a string in `operations` is one that ovsdb-server's JSON parser refuses.

    It has no null characters (RFC 7047, section 3.1: <string>) and no lone surrogates, and answers them by closing
    the connection, which would fail the neighbours too.
    """
    text = json.dumps(operations, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return "\\u0000" in text and "\0" in "".join(_strings(operations))


def _strings(value: Value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
