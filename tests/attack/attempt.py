"""An attempt: frames that must not arrive, who sends them, and what stops them."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.attack.cast import ATTACKER, Member


class Stopper(enum.Enum):
    """What stops an attempt. Its absence is shown on the open network, that of the core on a hub."""

    CORE = "core"
    PORT_SECURITY = "port_security"
    SECURITY_GROUP = "security_group"
    ARP_ND = "arp_nd"


@dataclass(frozen=True)
class Attempt:
    """One attempt in one family; `family` is 4, 6, or 0 for one that has none."""

    name: str
    stopper: Stopper
    family: int
    frames: tuple[bytes, ...]
    sender: Member = ATTACKER
    before: tuple[tuple[Member, bytes], ...] = ()
    """Frames that are allowed and arrive: what the attempt abuses."""
    harmless: tuple[bytes, ...] = ()
    """Those of `frames` that may arrive: without the others they are nothing, or what is allowed."""
    unfiltered: tuple[Member, ...] = ()
    """Who gets the frames on the guarded network too: what goes to all goes to them, and they let everything in."""
    tagged: bool = False
    """From the router: `frames` have their tags already, and the wire gets them as they are."""

    def __str__(self) -> str:
        return f"{self.name}, {FAMILIES[self.family]}".replace(" ", "-") if self.family else self.name.replace(" ", "-")


FAMILIES = {0: "none", 4: "IPv4", 6: "IPv6"}
Attempts = Iterator[Attempt]


def both(make: Callable[[int], Attempts]) -> list[Attempt]:
    """Return the attempts of both families."""
    return [*make(4), *make(6)]
