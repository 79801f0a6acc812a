"""Is a database file whole? What ovsdb-server itself does not say loudly enough.

A standalone file is a log of records (ovsdb(5)). ovsdb-server serves what is before the first damaged one and goes on,
with a line in its log: intents would be gone, and an agent would take their ports for leftovers. A record that was
never finished (power was lost while it was written) is another thing: nobody had an answer for it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

HEADER = re.compile(rb"OVSDB (?:JSON|CLUSTER) (\d+) ([0-9a-f]{40})\n")
MAX_HEADER = 128


@dataclass(frozen=True, slots=True)
class Damage:
    """The first place that is not a whole record."""

    offset: int
    """Bytes before it are whole."""
    unfinished: bool
    """No whole record follows: the last write was not finished, and nobody had an answer for it."""


def find_damage(file: Path) -> Damage | None:
    """Read a database file and return what is wrong with it. Blocks for as long as reading takes. Raises OSError."""
    content = file.read_bytes()
    offset = 0
    while offset < len(content):
        end = _end_of_record(content, offset)
        if end is None:
            return Damage(offset, unfinished=not _record_follows(content, offset + 1))
        offset = end
    return None


def _end_of_record(content: bytes, offset: int) -> int | None:
    header = HEADER.match(content, offset, offset + MAX_HEADER)
    if header is None:
        return None
    end = header.end() + int(header[1])
    record = content[header.end() : end]
    whole = len(record) == int(header[1]) and hashlib.sha1(record, usedforsecurity=False).hexdigest().encode()
    return end if whole == header[2] else None


def _record_follows(content: bytes, offset: int) -> bool:
    return any(_end_of_record(content, found.start()) is not None for found in HEADER.finditer(content, offset))
