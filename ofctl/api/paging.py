"""Pages of a sorted listing. The token holds the last key, so that rows which come and go shift nothing."""

from __future__ import annotations

import base64
import binascii
import bisect
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from ofctl.errors import InvalidField

DEFAULT_PAGE = 100
MAX_PAGE = 1000

T = TypeVar("T")
Key = tuple[str, ...]


def page_of(
    rows: Sequence[T], key: Callable[[T], Key], *, size: int, token: str, filters: Key = ()
) -> tuple[Sequence[T], str]:
    """Return the rows of one page and the token of the next, empty if there is none. `rows` are sorted by `key`.

    Raises InvalidField for a negative size and for a token that is not of such a listing with these filters.
    """
    if size < 0:
        raise InvalidField("page_size", f"is {size}; it must be 0 (for {DEFAULT_PAGE}) to {MAX_PAGE}")
    size = min(size or DEFAULT_PAGE, MAX_PAGE)
    start = bisect.bisect_right(rows, _read(token, filters), key=key) if token else 0
    page = rows[start : start + size]
    more = start + size < len(rows)
    return page, _write(key(page[-1]), filters) if more else ""


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
