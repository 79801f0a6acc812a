"""Pages of a sorted listing. The token holds the last key, so that rows which come and go shift nothing."""

from __future__ import annotations

import base64
import binascii
import bisect
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from ofctl.errors import InvalidField

DEFAULT_PAGE = 100
MAX_PAGE = 1000
MAX_PAGE_BYTES = 2**21
"""gRPC refuses messages above 4 MiB unless told otherwise; a page with large labels is cut before."""

T = TypeVar("T")
M = TypeVar("M", bound=Message)
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Which page: how many rows at most, after what token, and the filters that the token must have been given for."""

    size: int
    token: str
    filters: Key = ()


def page_of(
    rows: Sequence[T], key: Callable[[T], Key], encode: Callable[[T], M], page: Page
) -> tuple[Sequence[M], str]:
    """Return the messages of one page and the token of the next, empty if there is none. `rows` are sorted by `key`.

    Raises InvalidField for a negative size and for a token that is not of such a listing with these filters.
    """
    if page.size < 0:
        raise InvalidField("page_size", f"is {page.size}; it must be 0 (for {DEFAULT_PAGE}) to {MAX_PAGE}")
    start = bisect.bisect_right(rows, _read(page.token, page.filters), key=key) if page.token else 0
    end = min(len(rows), start + min(page.size or DEFAULT_PAGE, MAX_PAGE))
    messages: list[M] = []
    room = MAX_PAGE_BYTES
    for row in rows[start:end]:
        message = encode(row)
        room -= message.ByteSize()
        if messages and room < 0:
            break
        messages.append(message)
    more = start + len(messages) < len(rows)
    return messages, _write(key(rows[start + len(messages) - 1]), page.filters) if more else ""


def _write(last: Key, filters: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps([_digest(filters), *last]).encode()).decode()


def _read(token: str, filters: Key) -> Key:
    try:
        digest, *last = json.loads(base64.b64decode(token, altchars="-_", validate=True))
    except (ValueError, TypeError, binascii.Error):
        raise InvalidField("page_token", "is none that this agent gave") from None
    if not last or not all(isinstance(part, str) for part in last):
        raise InvalidField("page_token", "is none that this agent gave")
    if digest != _digest(filters):
        raise InvalidField("page_token", "is of a listing with other filters; use the same ones for every page")
    return tuple(last)


def _digest(filters: Key) -> str:
    return hashlib.sha256(json.dumps(filters).encode()).hexdigest()[:8]
