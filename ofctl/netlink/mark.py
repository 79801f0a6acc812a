"""The owner mark: what a device of ofctl bears in the kernel, so that it is known after any crash.

It stands in the alias of the device (IFLA_IFALIAS, `ip link show` prints it) as `ofctl:HOST:PORT`. An alias has at
most 255 bytes (IFALIASZ in linux/if.h is 256, with the terminator), so a long id is replaced by its hash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ofctl.model.ids import HostId, PortId

PREFIX = "ofctl"
MAX_PART_LENGTH = 120
MAX_ALIAS_LENGTH = 255
_HASH = "#"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerMark:
    """Whose device it is. Compare marks, not ids: a part may be a hash of the id."""

    host: str
    port: str

    @classmethod
    def of(cls, host_id: HostId, port_id: PortId) -> OwnerMark:
        """Return the mark of a port's device on a host."""
        return cls(host=_part(host_id), port=_part(port_id))

    @classmethod
    def parse(cls, alias: str) -> OwnerMark | None:
        """Return the mark in an alias, or None if the alias is not of our making."""
        parts = alias.split(":")
        if len(parts) != 3 or parts[0] != PREFIX or not parts[1] or not parts[2]:
            return None
        return cls(host=parts[1], port=parts[2])

    @property
    def port_id(self) -> PortId | None:
        """The port's id, or None if it was so long that only its hash is there."""
        return None if self.port.startswith(_HASH) else PortId(_unescape(self.port))

    def is_of_host(self, host_id: HostId) -> bool:
        """Tell whether a port of this host is meant."""
        return self.host == _part(host_id)

    def __str__(self) -> str:
        return f"{PREFIX}:{self.host}:{self.port}"


def _part(identifier: str) -> str:
    """Return an id without the colon that separates; `%` and `#` are in no id (`ofctl.model.ids.identifier`)."""
    escaped = identifier.replace(":", "%3A")
    if len(escaped) <= MAX_PART_LENGTH:
        return escaped
    return _HASH + hashlib.sha256(identifier.encode()).hexdigest()


def _unescape(part: str) -> str:
    return part.replace("%3A", ":")
