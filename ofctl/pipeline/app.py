"""What every third-party app declares of itself, whether it makes flows or takes part in the binding.

Part of the public contract of apps (docs/plugins.md); import it from `ofctl.plugin`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ofctl.pipeline.fields import RegisterSlice
from ofctl.pipeline.flow import Table

API_VERSION = 1
"""Of the contract in `ofctl.plugin`. Goes up when an app that was right may be wrong; additions do not change it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchoredTable:
    """A table that an app wants at an anchor of the pipeline: `after="classify"` or `before="deliver"`.

    Frames come to the first table of an app at an anchor; to the others only its own flows lead. What no flow of a
    table matches goes on as if the table were not there.
    """

    name: str
    """Unique within the app; the table's whole name is APP.NAME."""
    purpose: str
    after: str = ""
    before: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterBits:
    """Bits of a register that an app wants for itself, 1 to 32; 0 in every frame that comes in."""

    name: str
    bits: int
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A field that an app adds to a port. Callers set it as annotation APP/NAME; `App.check_annotation` judges it."""

    name: str
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """Frames that the ports' flows of one priority in one of the app's tables have matched, as GetHost counts them.

    Its name there is `app.APP.NAME`. It counts the flows that are there: what a flow had counted goes with it.
    """

    name: str
    table: str
    """Name of an `AnchoredTable` of the app."""
    priority: int
    purpose: str


FLOWS = "flows"
"""Name of the counter that every app has: the flows in its tables."""
HANDLED, ANSWERED, FAILED = "packet-ins", "packet-outs", "packet-failures"
CROWDED, LIMITED, MUTES = "packet-ins-crowded", "packet-ins-limited", "packet-ins-mutes"
"""Names of the counters that every app has which handles packets (docs/operations.md)."""
OWN_COUNTERS = frozenset({FLOWS, HANDLED, ANSWERED, FAILED, CROWDED, LIMITED, MUTES})


@dataclass(frozen=True, slots=True)
class Place:
    """What an app was given of what it declared. Made by the loader."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    registers: Mapping[str, RegisterSlice] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


class App:
    """Base of all apps. A third party's class states `name` and `api_version`, and declares what it needs."""

    name: str
    """Lower-case letters, digits and `-`, beginning with a letter, at most 32; unique among the apps of a host."""
    api_version: ClassVar[int] = 0
    """The API_VERSION that the app was written for, as a number: it must not follow ours by itself."""
    options: ClassVar[Sequence[Any]] = ()
    """Options of oslo.config (`cfg.Opt`), which become group [app:NAME] of the configuration."""
    annotations: ClassVar[Sequence[Annotation]] = ()

    def __init__(self, place: Place | None = None) -> None:
        """`place` is what the app was given; None for the core's own apps, whose tables are declared elsewhere."""
        self.place = place

    def option(self, name: str) -> Any:
        """Return the value of an option of the app, converted and checked by oslo.config."""
        assert self.place is not None
        return self.place.options[name]

    def check_annotation(self, name: str, value: str) -> None:
        """Raise ValueError, with a problem to read ("is 99; it must be 0 to 7"), unless a port may have this value.

        Called when a port is plugged, for each annotation of this app that the port has; `name` is a declared one.
        """
