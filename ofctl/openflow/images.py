"""What the switch has, and what it should have, in one form: the bytes that OVS dumps.

An image of a desired flow (`flow_image`) and of a dumped one (`Switch.dump_flows`) are of the same type and equal if
and only if the switch has what is desired; nobody parses instructions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from ofctl.pipeline.changes import FlowKey


@dataclass(frozen=True, slots=True)
class FlowImage:
    """A flow. `content` is its timeouts, flags and importance, then its instructions, as OVS 3.1 dumps them."""

    key: FlowKey
    cookie: int
    content: bytes


@dataclass(frozen=True, slots=True)
class GroupImage:
    """A group; `group_type` is OFPGT_*; `buckets` are pairs of bucket id and its bytes, in order of the id."""

    group_id: int
    group_type: int
    buckets: tuple[tuple[int, bytes], ...]


def image_digest(images: Iterable[FlowImage]) -> tuple[int, str]:
    """Return how many flows there are and their SHA-256, hexadecimal, in order of table, priority and match."""
    ordered = sorted(images, key=_order)
    digest = hashlib.sha256()
    for image in ordered:
        key = image.key
        digest.update(
            b"%d,%d,%d,%d,%d;" % (key.table_number, key.priority, image.cookie, len(key.match), len(image.content))
        )
        digest.update(key.match)
        digest.update(image.content)
    return len(ordered), digest.hexdigest()


def _order(image: FlowImage) -> tuple[int, int, bytes, int, bytes]:
    key = image.key
    return (key.table_number, key.priority, key.match, image.cookie, image.content)
