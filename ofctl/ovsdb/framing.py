"""JSON-RPC messages out of a byte stream, parsed by the standard library's C decoder.

OVSDB's messages follow each other on the stream without a separator (RFC 7047, section 4), so the end of one is known
only by parsing it. `ovs.json` does that a character at a time in Python unless its C extension was built, which a
plain installation of the package does not do: 50 times slower than `json`.
"""

from __future__ import annotations

import json

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


class MessageSplitter:
    """Collects bytes and gives out the JSON values that are complete.

    A message is an object, so parsing is tried only when the bytes end with a closing brace. A message that is
    followed by the beginning of the next waits for the end of that one, which is on its way already.
    """

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, received: bytes) -> list[object]:
        """Return the messages that `received` completes. Raises ValueError if the stream cannot be JSON."""
        self._pending += received
        if not self._pending.rstrip().endswith(b"}"):
            return []
        text = self._pending.decode("utf-8")
        messages: list[object] = []
        position = 0
        while True:
            while position < len(text) and text[position] in _SPACE:
                position += 1
            if position == len(text):
                break
            try:
                message, position = _DECODER.raw_decode(text, position)
            except json.JSONDecodeError as error:
                if not _is_truncated(error, text):
                    raise
                break
            messages.append(message)
        self._pending = bytearray(text[position:].encode("utf-8"))
        return messages


def _is_truncated(error: json.JSONDecodeError, text: str) -> bool:
    """Tell whether more bytes can mend `error`: the parser ran into the end, or into a string that has none."""
    return error.pos >= len(text) or error.msg.startswith("Unterminated string")
