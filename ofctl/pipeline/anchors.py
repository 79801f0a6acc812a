"""Where third-party apps stand in the pipeline: their tables get numbers, and frames are led through them.

An app never says where its frames go on: it says ONWARD, and the chain of all apps at the anchor decides. So apps do
not know of each other, and a core without any is as if there were no anchors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ofctl.errors import AppFailed, AppRefused
from ofctl.pipeline.app import API_VERSION, OWN_COUNTERS, AnchoredTable, App, Place
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.fields import METADATA, XXREG2, RegisterSlice
from ofctl.pipeline.flow import (
    Action,
    Bucket,
    Cookie,
    Flow,
    Group,
    Match,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    Table,
    ToApp,
    ToController,
)
from ofctl.pipeline.packets import handler_value
from ofctl.pipeline.tables import (
    APP_CONTROLLER,
    DELIVER,
    HANDLER,
    NO_PROBE,
    SOURCE_KNOWN,
    STAGES,
    TO_APP,
    Priority,
    host_cookie,
)

A = TypeVar("A", bound=App)

ONWARD = Table(254, "onward", "core", "To the next app at the anchor, or on in the pipeline; no table of the switch.")
APP_REGISTERS = range(12, 16)
"""The registers that apps share; the core has others."""
NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class Anchor:
    """A range of table numbers for apps, both ends included, and the table that its last app leads to."""

    name: str
    first: int
    last: int
    behind: Table


def _anchor(name: str, stage_name: str, behind: Table) -> Anchor:
    stage = next(stage for stage in STAGES if stage.name == stage_name)
    return Anchor(name, stage.first, stage.last, behind)


ANCHORS = {
    ("classify", ""): _anchor("after classify", "anchor-from-port", SOURCE_KNOWN),
    ("", "deliver"): _anchor("before deliver", "anchor-to-port", DELIVER),
}


def anchor_of(table: AnchoredTable) -> Anchor:
    """Return where a table wants to be; raises ValueError if there is no such anchor."""
    try:
        return ANCHORS[table.after, table.before]
    except KeyError:
        raise ValueError(
            f"table {table.name} is neither after='classify' nor before='deliver', the anchors there are"
        ) from None


def check_app(app: type[App]) -> None:
    """Raise AppRefused unless the class declares what every app must."""
    name = getattr(app, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise AppRefused(
            app.__qualname__, f"its name is {name!r}; write 1 to 32 of a-z, 0-9 and -, beginning with a letter"
        )
    if app.api_version != API_VERSION:
        raise AppRefused(
            name, f"it is written for version {app.api_version} of the contract, and this ofctl has {API_VERSION}"
        )
    fields = [annotation.name for annotation in app.annotations]
    if len(set(fields)) != len(fields) or not all(NAME.fullmatch(field) for field in fields):
        raise AppRefused(name, f"its annotations {fields} are not different names of a-z, 0-9 and -")


def place_apps(apps: Sequence[type[A]], options: Mapping[str, Mapping[str, Any]]) -> tuple[A, ...]:
    """Return the apps, made, each with its tables, register bits and options (by name of the app).

    Tables at one anchor follow each other in the order of `apps`. Raises AppRefused, which names the app and why.
    """
    names = [app.name for app in apps]
    used = {anchor.name: anchor.first for anchor in ANCHORS.values()}
    bits = _Bits()
    placed = []
    for app in apps:
        check_app(app)
        if names.count(app.name) > 1:
            raise AppRefused(app.name, "another app has the same name")
        tables: dict[str, Table] = {}
        registers: dict[str, RegisterSlice] = {}
        if issubclass(app, FeatureApp):
            tables = _tables_for(app, used)
            registers = {wish.name: bits.take(app.name, wish.name, wish.bits) for wish in app.registers}
        try:
            placed.append(app(Place(tables, registers, options.get(app.name, {}))))
        except Exception as error:
            raise AppRefused(app.name, f"it cannot be made: {error!r}") from error
    return tuple(placed)


def _tables_for(app: type[FeatureApp], used: dict[str, int]) -> dict[str, Table]:
    if "tables" in vars(app) or app.shard_groups is not FeatureApp.shard_groups:
        raise AppRefused(app.name, "only the core's own apps choose table numbers and have groups; use `anchored`")
    tables: dict[str, Table] = {}
    for wish in app.anchored:
        try:
            anchor = anchor_of(wish)
        except ValueError as error:
            raise AppRefused(app.name, str(error)) from None
        if wish.name in tables or not NAME.fullmatch(wish.name):
            raise AppRefused(app.name, f"table {wish.name!r} is there twice, or its name is not of a-z, 0-9 and -")
        number = used[anchor.name]
        if number > anchor.last:
            room = anchor.last - anchor.first + 1
            raise AppRefused(app.name, f"no table is left {anchor.name}: there are {room} for all apps")
        used[anchor.name] = number + 1
        tables[wish.name] = Table(number, f"{app.name}.{wish.name}", app.name, wish.purpose)
    for counter in app.counters:
        if counter.name in OWN_COUNTERS or not NAME.fullmatch(counter.name):
            raise AppRefused(app.name, f"counter {counter.name!r} is every app's, or its name is not of a-z, 0-9 and -")
        if counter.table not in tables:
            raise AppRefused(app.name, f"counter {counter.name} is of table {counter.table}, which it does not declare")
    return tables


class _Bits:
    """Gives out register bits, first fit."""

    def __init__(self) -> None:
        self._free = dict.fromkeys(APP_REGISTERS, 0)

    def take(self, app: str, name: str, bits: int) -> RegisterSlice:
        for register, start in self._free.items():
            if 1 <= bits <= 32 - start:
                self._free[register] = start + bits
                return RegisterSlice(f"{app}.{name}", register, start, bits)
        raise AppRefused(app, f"{bits} bits for register {name} are not left, or are none: give 1 to 32")


class Chain:
    """How frames get through the apps of one host, and the check of what the apps answer. Pure."""

    def __init__(self, apps: Iterable[FeatureApp]) -> None:
        everyone = tuple(apps)
        self.core = tuple(app for app in everyone if app.place is None)
        self.guests = tuple(app for app in everyone if app.place is not None)
        """Third parties' apps, in the order in which a frame meets them at an anchor."""
        handling = (app for app in self.guests if app.handles_packets)
        self.handlers = {app.name: number for number, app in enumerate(handling, 1)}
        """The number of each app that handles packets."""
        self._detours: dict[Table, Table] = {}
        self._onward: dict[Table, Table] = {}
        doors = {behind: door for app in self.core for behind, door in app.doors.items()}
        self._behind = {door: behind for behind, door in doors.items()}
        self._detours.update(doors)
        for anchor in ANCHORS.values():
            ahead = doors.get(anchor.behind, anchor.behind)
            for app in reversed(self.guests):
                tables = [table for table in app.tables if anchor.first <= table.number <= anchor.last]
                self._onward.update(dict.fromkeys(tables, ahead))
                ahead = tables[0] if tables else ahead
            if ahead is not anchor.behind:
                self._detours[anchor.behind] = ahead
        self._buckets: dict[int, tuple[Bucket, Bucket]] = {}

    @property
    def paths(self) -> tuple[tuple[Table, Table], ...]:
        """The ways that the apps add, from each table to where what it does not match goes."""
        ups = (table for app in self.guests if app.name in self.handlers for table in app.tables)
        return (*self._onward.items(), *((table, TO_APP) for table in ups))

    def misses(self) -> tuple[Flow, ...]:
        """Return what lets every frame go on that an app's table does not match, and those up that apps handle."""
        misses = [
            Flow(table, Priority.MISS, Match(), host_cookie(), goto=ahead) for table, ahead in self._onward.items()
        ]
        if self.handlers:
            # A probe is nobody's to handle: it goes its way and leaves nothing behind.
            up = (ToController(APP_CONTROLLER),)
            misses.append(Flow(TO_APP, Priority.BROAD, Match.of(NO_PROBE), host_cookie(), up))
        return tuple(misses)

    def flows(self, ask: Callable[[FeatureApp], Iterable[Flow]], cookie: Cookie, subject: str) -> tuple[Flow, ...]:
        """Return all apps' answers to one question. Raises AppFailed: a third party's answer is not right."""
        others = (flow for app in self.guests for flow in self._asked(app, ask, cookie, subject))
        return (*self.core_flows(ask), *others)

    def core_flows(self, ask: Callable[[FeatureApp], Iterable[Flow]]) -> tuple[Flow, ...]:
        """Return the core's answers to a question that third parties are not asked."""
        return tuple(self._detoured(flow) for app in self.core for flow in ask(app))

    def groups(self, groups: Iterable[Group]) -> tuple[Group, ...]:
        """Return the core's groups with the ways of their buckets led through the apps."""
        if not self._detours:
            return tuple(groups)
        return tuple(replace(group, buckets=tuple(map(self._detoured_bucket, group.buckets))) for group in groups)

    def _detoured(self, flow: Flow) -> Flow:
        if not self._detours:
            return flow
        behind = self._behind.get(flow.table)  # What leads from a door to there has been through it.
        goto = self._detours.get(flow.goto, flow.goto) if flow.goto not in (None, behind) else flow.goto
        return replace(flow, actions=self._detoured_actions(flow.actions, behind), goto=goto)

    def _detoured_actions(self, actions: tuple[Action, ...], behind: Table | None = None) -> tuple[Action, ...]:
        return tuple(
            Resubmit(self._detours[action.table])
            if isinstance(action, Resubmit) and action.table in self._detours and action.table is not behind
            else action
            for action in actions
        )

    def _detoured_bucket(self, bucket: Bucket) -> Bucket:
        """Remembered by object: a plug compiles groups of up to 500 buckets that were there, and hashing is dear."""
        known = self._buckets.get(id(bucket))
        if known is not None and known[0] is bucket:
            return known[1]
        if len(self._buckets) > 8192:
            self._buckets.clear()
        detoured = replace(bucket, actions=self._detoured_actions(bucket.actions))
        self._buckets[id(bucket)] = (bucket, detoured)
        return detoured

    def _asked(
        self, app: FeatureApp, ask: Callable[[FeatureApp], Iterable[Flow]], cookie: Cookie, subject: str
    ) -> list[Flow]:
        try:
            flows = list(ask(app))
        except Exception as error:
            raise AppFailed(app.name, f"cannot compile {subject}: {error!r}") from error
        return [self._checked(app, flow, cookie, subject) for flow in flows]

    def _checked(self, app: FeatureApp, flow: Flow, cookie: Cookie, subject: str) -> Flow:
        """Return the flow with ONWARD resolved; raises AppFailed if it does what no third party's flow may do."""
        problem = ""
        if not isinstance(flow, Flow):
            problem = "which is no Flow"
        elif flow.table not in app.tables:
            problem = f"which lies in table {flow.table}, not in one of its own"
        elif flow.cookie != cookie:
            problem = f"which bears cookie {flow.cookie:#x}, and {subject} has {cookie:#x}"
        elif flow.priority == Priority.MISS and not flow.match.terms:
            problem = "which is the table's miss: that is the core's"
        elif flow.goto not in (None, ONWARD, *app.tables):
            problem = f"which leads to {flow.goto}, neither ONWARD nor a table of its own"
        else:
            problem = next(filter(None, (self._problem(app, action) for action in flow.actions)), "")
        if problem:
            raise AppFailed(app.name, f"made {flow}, {problem}")
        if any(isinstance(action, ToApp) for action in flow.actions):
            actions = tuple(each for action in flow.actions for each in self._handed(app, action))
            flow = replace(flow, actions=actions)
        return replace(flow, goto=self._onward[flow.table]) if flow.goto is ONWARD else flow

    def _handed(self, app: FeatureApp, action: Action) -> tuple[Action, ...]:
        if not isinstance(action, ToApp):
            return (action,)
        return (SetField(HANDLER, handler_value(self.handlers[app.name], action.tag)), Resubmit(TO_APP))

    @staticmethod
    def _problem(app: FeatureApp, action: Action) -> str:
        if isinstance(action, ToApp):
            return "" if app.handles_packets else f"whose action {action} the app has no packet_in for"
        if isinstance(action, PushVlan | PopVlan) or (isinstance(action, Resubmit) and action.table in app.tables):
            return ""
        if not isinstance(action, SetField):
            return f"whose action {action} is not one that apps have"
        assert app.place is not None
        if action.field in (METADATA, XXREG2):
            return f"which sets {action.field.name}, no register of its own"
        if isinstance(action.field, RegisterSlice) and action.field not in app.place.registers.values():
            return f"which sets {action.field.name}, no register of its own"
        return ""
