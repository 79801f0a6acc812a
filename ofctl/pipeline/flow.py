"""Flows, groups and their parts as frozen, hashable values; `str()` is ovs-ofctl syntax with table names.

A flow's identity on the switch is (table, priority, match); everything else is its content (OpenFlow 1.5.1, 6.4).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NewType

from ofctl.pipeline.fields import (
    ARP_SHA,
    ETH_DST,
    ETH_SRC,
    IPV4_DST,
    IPV4_SRC,
    IPV6_DST,
    IPV6_SRC,
    ND_TARGET,
    Field,
    RegisterSlice,
)

Cookie = NewType("Cookie", int)
GroupId = NewType("GroupId", int)

OFPP_IN_PORT = 0xFFFFFFF8
OFPP_CONTROLLER = 0xFFFFFFFD
MAX_BUCKETS = 500
"""Above about 2,500 buckets OVS 3.1 corrupts its group description reply and drops the connection."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the pipeline. `dynamic`: the switch writes flows in it itself (learn), so no diff, digest or audit."""

    number: int
    name: str
    owner: str
    purpose: str
    dynamic: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class Term:
    """One field or register slice that must have a value; `mask` None means all of it."""

    field: Field | RegisterSlice
    value: int
    mask: int | None = None

    def __post_init__(self) -> None:
        full = (1 << self.field.bits) - 1
        if not 0 <= self.value <= full or (self.mask is not None and not 0 < self.mask <= full):
            raise ValueError(f"{self.field.name}={self.value:#x}/{self.mask} does not fit in {self.field.bits} bits")
        if self.mask is not None and self.value & ~self.mask:
            raise ValueError(f"{self.field.name}: value {self.value:#x} has bits outside of its mask {self.mask:#x}")

    def __str__(self) -> str:
        if isinstance(self.field, RegisterSlice):
            mask = self.field.mask if self.mask is None else self.mask << self.field.start
            return f"reg{self.field.register}={self.value << self.field.start:#x}/{mask:#x}"
        text = _format(self.field, self.value)
        return (
            f"{self.field.name}={text}"
            if self.mask is None
            else f"{self.field.name}={text}/{_format(self.field, self.mask)}"
        )


def _format(field: Field, value: int) -> str:
    if field in (ETH_DST, ETH_SRC, ARP_SHA):
        return ":".join(f"{octet:02x}" for octet in value.to_bytes(6, "big"))
    if field in (IPV4_SRC, IPV4_DST):
        return ".".join(str(octet) for octet in value.to_bytes(4, "big"))
    if field in (IPV6_SRC, IPV6_DST, ND_TARGET):
        return ":".join(f"{value >> shift & 0xFFFF:x}" for shift in range(112, -1, -16))
    return str(value) if field.name == "in_port" else f"{value:#x}"


@dataclass(frozen=True, slots=True)
class Match:
    """A conjunction of terms, sorted and without repetition. `Match.of(...)` is the constructor to use."""

    terms: tuple[Term, ...] = ()

    @classmethod
    def of(cls, *terms: Term) -> Match:
        """Return the match on all of `terms`; raises ValueError if two speak of the same field."""
        ordered = tuple(sorted(terms, key=lambda term: term.field.name))
        names = [term.field.name for term in ordered]
        if len(set(names)) != len(names):
            raise ValueError(f"a field is matched twice: {names}")
        return cls(ordered)

    def __str__(self) -> str:
        return ",".join(str(term) for term in self.terms)


@dataclass(frozen=True, slots=True)
class Output:
    """Send to an OpenFlow port; never back to the port it came from (OpenFlow 1.5.1, 4.5)."""

    port: int

    def __str__(self) -> str:
        return f"output:{self.port}"


@dataclass(frozen=True, slots=True)
class OutputRegister:
    """Send to the OpenFlow port whose number is in a register slice."""

    source: RegisterSlice

    def __str__(self) -> str:
        return f"output:{_nxm(self.source)}"


@dataclass(frozen=True, slots=True)
class ToController:
    """Send the frame and its registers to the clients of the switch that have this controller id (NXAST_CONTROLLER)."""

    controller_id: int

    def __str__(self) -> str:
        return f"controller(id={self.controller_id})"


@dataclass(frozen=True, slots=True)
class ToGroup:
    """Process through a group; later actions see the packet as it was before."""

    group_id: GroupId

    def __str__(self) -> str:
        return f"group:{self.group_id}"


@dataclass(frozen=True, slots=True)
class SetField:
    """Set a field or a register slice to a constant."""

    field: Field | RegisterSlice
    value: int

    def __post_init__(self) -> None:
        if not 0 <= self.value < 1 << self.field.bits:
            raise ValueError(f"{self.field.name} := {self.value:#x} does not fit in {self.field.bits} bits")

    def __str__(self) -> str:
        if isinstance(self.field, RegisterSlice):
            return f"set_field:{self.value << self.field.start:#x}/{self.field.mask:#x}->reg{self.field.register}"
        return f"set_field:{_format(self.field, self.value)}->{self.field.name}"


@dataclass(frozen=True, slots=True)
class PushVlan:
    """Push an empty tag with this ethertype; a SetField of VLAN_VID (with VLAN_PRESENT) follows."""

    ethertype: int = 0x8100

    def __str__(self) -> str:
        return f"push_vlan:{self.ethertype:#x}"


@dataclass(frozen=True, slots=True)
class PopVlan:
    """Remove the outermost tag."""

    def __str__(self) -> str:
        return "pop_vlan"


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Look the packet up in another table and come back (NXAST_RESUBMIT_TABLE)."""

    table: Table

    def __str__(self) -> str:
        return f"resubmit(,{self.table})"


@dataclass(frozen=True, slots=True)
class LearnMatch:
    """The learned flow matches `field` with what the packet has in `source` (a field or slice of the same width)."""

    field: Field | RegisterSlice
    source: Field | RegisterSlice

    def __str__(self) -> str:
        return f"{_nxm(self.field)}={_nxm(self.source)}"


@dataclass(frozen=True, slots=True)
class LearnLoad:
    """The learned flow loads a constant, or what the packet has in a field, into a register slice."""

    target: RegisterSlice
    source: Field | RegisterSlice | int

    def __str__(self) -> str:
        source = f"{self.source:#x}" if isinstance(self.source, int) else _nxm(self.source)
        return f"load:{source}->{_nxm(self.target)}"


@dataclass(frozen=True, slots=True)
class Learn:
    """Add a flow to a dynamic table from the packet at hand (NXAST_LEARN2, ovs-actions(7)).

    `limit` is the most flows that this cookie may learn in the table; timeouts in seconds.
    """

    table: Table
    matches: tuple[LearnMatch, ...]
    loads: tuple[LearnLoad, ...]
    priority: int
    cookie: Cookie
    idle_timeout_s: int
    limit: int
    hard_timeout_s: int = 0

    def __str__(self) -> str:
        parts = [f"table={self.table}", f"idle_timeout={self.idle_timeout_s}"]
        if self.hard_timeout_s:
            parts.append(f"hard_timeout={self.hard_timeout_s}")
        parts += [f"priority={self.priority}", f"cookie={self.cookie:#x}", f"limit={self.limit}"]
        parts += [str(item) for item in (*self.matches, *self.loads)]
        return f"learn({','.join(parts)})"


Action = Output | OutputRegister | ToController | ToGroup | SetField | PushVlan | PopVlan | Resubmit | Learn


def _nxm(field: Field | RegisterSlice) -> str:
    if isinstance(field, RegisterSlice):
        return f"NXM_NX_REG{field.register}[{field.start}..{field.start + field.bits - 1}]"
    return f"{field.name}[]"


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow entry. No actions and no goto: matching packets are dropped."""

    table: Table
    priority: int
    match: Match
    cookie: Cookie
    actions: tuple[Action, ...] = ()
    goto: Table | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.priority <= 0xFFFF:
            raise ValueError(f"priority {self.priority} is outside of 0 to 65535")
        if self.goto is not None and self.goto.number <= self.table.number:
            raise ValueError(f"goto from table {self.table} back to {self.goto}")

    @property
    def identity(self) -> tuple[int, int, Match]:
        """What names the flow on the switch: table number, priority, match."""
        return (self.table.number, self.priority, self.match)

    @property
    def group_ids(self) -> frozenset[GroupId]:
        """The groups that must be there before the flow is, and with which it goes."""
        return frozenset(action.group_id for action in self.actions if isinstance(action, ToGroup))

    def __str__(self) -> str:
        match = f",{self.match}" if self.match.terms else ""
        verbs = [str(action) for action in self.actions]
        if self.goto is not None:
            verbs.append(f"goto_table:{self.goto}")
        identity = f"table={self.table},cookie={self.cookie:#x},priority={self.priority}{match}"
        return f"{identity} actions={','.join(verbs) or 'drop'}"


class GroupType(enum.Enum):
    """How a group picks among its buckets (OpenFlow 1.5.1, 5.10.1)."""

    ALL = "all"


@dataclass(frozen=True, slots=True)
class Bucket:
    """One list of actions of a group. `bucket_id` is unique in the group and stays with the port it is for."""

    bucket_id: int
    actions: tuple[Action, ...]

    def __str__(self) -> str:
        return f"bucket=bucket_id:{self.bucket_id},actions={','.join(str(action) for action in self.actions)}"


@dataclass(frozen=True, slots=True)
class Group:
    """A group entry; its buckets in order of their id."""

    group_id: GroupId
    buckets: tuple[Bucket, ...]
    group_type: GroupType = GroupType.ALL

    def __post_init__(self) -> None:
        ids = [bucket.bucket_id for bucket in self.buckets]
        if ids != sorted(set(ids)):
            raise ValueError(f"buckets of group {self.group_id} are not in order of their ids, or share one")
        if len(ids) > MAX_BUCKETS:
            raise ValueError(f"group {self.group_id} has {len(ids)} buckets; at most {MAX_BUCKETS} are safe")

    def __str__(self) -> str:
        return ",".join([f"group_id={self.group_id}", f"type={self.group_type.value}", *map(str, self.buckets)])


@dataclass(frozen=True, slots=True)
class FlowSet:
    """Flows and groups that belong together: those of a port, of a network, of the host."""

    flows: tuple[Flow, ...] = ()
    groups: tuple[Group, ...] = ()

    @classmethod
    def union(cls, parts: Iterable[FlowSet]) -> FlowSet:
        """Return all flows and groups of `parts`."""
        parts = tuple(parts)
        return cls(
            tuple(flow for part in parts for flow in part.flows),
            tuple(group for part in parts for group in part.groups),
        )

    def canonical(self) -> FlowSet:
        """Return the same flows and groups in one fixed order: by table, priority downwards, match; by group id."""
        return FlowSet(
            tuple(sorted(self.flows, key=lambda flow: (flow.table.number, -flow.priority, str(flow.match)))),
            tuple(sorted(self.groups, key=lambda group: group.group_id)),
        )
