"""What the switch says that a table can, cut down to a fenced guest's (OpenFlow 1.3.5, 7.3.5.5). No I/O."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from ofctl.guests.actions import EXPERIMENTER
from ofctl.guests.matches import own_field, settable
from ofctl.guests.of13 import entries

NAME = 32
NAME_AT, PROPERTIES = 8, 64
TABLE_LISTS, ACTION_LISTS, INSTRUCTION_LISTS = (2, 3), (4, 5, 6, 7), (0, 1)
MATCHED, SET = (8, 10), (12, 13, 14, 15)
EXPERIMENTER_PROPERTY = 0xFFFE


def own_table_features(body: bytes, own: range) -> Iterator[bytes]:
    """Yield the entries of the guest's own tables, in its own numbers."""
    for entry in entries(body):
        if entry[2] in own:
            yield _entry(entry, own)


def _entry(entry: bytes, own: range) -> bytes:
    table = entry[2] - own.start
    listed = b"".join(_properties(entry, own))
    name = f"table{table}".encode().ljust(NAME, b"\0")
    fixed = entry[3:NAME_AT] + name + entry[NAME_AT + NAME : PROPERTIES]
    return struct.pack("!HB", PROPERTIES + len(listed), table) + fixed + listed


def _properties(entry: bytes, own: range) -> Iterator[bytes]:
    at = PROPERTIES
    while at + 4 <= len(entry):
        kind, length = struct.unpack_from("!HH", entry, at)
        if length < 4:
            return
        content = entry[at + 4 : at + length]
        if kind in TABLE_LISTS:
            content = bytes(each - own.start for each in content if each in own)
        elif kind in (*INSTRUCTION_LISTS, *ACTION_LISTS):
            content = _known(content)
        elif kind in MATCHED:
            content = _headers(content, own_field)
        elif kind in SET:
            content = _headers(content, settable)
        if kind < EXPERIMENTER_PROPERTY:
            yield struct.pack("!HH", kind, 4 + len(content)) + content + bytes(-(4 + len(content)) % 8)
        at += length + 7 & ~7


def _known(content: bytes) -> bytes:
    """Return those of a list of instructions or actions that are no experimenter's."""
    found, at = [], 0
    while at + 4 <= len(content):
        kind, length = struct.unpack_from("!HH", content, at)
        if length < 4:
            break
        if kind != EXPERIMENTER:
            found.append(content[at : at + length])
        at += length
    return b"".join(found)


def _headers(content: bytes, kept: Callable[[int], bool]) -> bytes:
    """Return those of a list of OXM headers; one of an experimenter's class has eight bytes."""
    found, at = [], 0
    while at + 4 <= len(content):
        header = int.from_bytes(content[at : at + 4], "big")
        if kept(header):
            found.append(content[at : at + 4])
        at += 8 if header >> 16 == EXPERIMENTER else 4
    return b"".join(found)
