"""Flows, groups and their parts as frozen, hashable values; `str()` is ovs-ofctl syntax with table names.

A flow's identity on the switch is (table, priority, match); everything else is its content (OpenFlow 1.5.1, 6.4).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NewType

from ofctl.pipeline.fields import IN_PORT, VLAN_VID, Field, RegisterSlice
from ofctl.pipeline.match import Match, Term, format_value

__all__ = [
    "MAX_BUCKETS", "OFPP_CONTROLLER", "OFPP_IN_PORT", "Action", "Bucket", "Conjunction", "Conntrack", "Cookie", "Flow",
    "FlowSet", "Group", "GroupId", "GroupType", "Learn", "LearnLoad", "LearnMatch", "Match", "Move", "Output",
    "OutputRegister", "PopVlan", "PushVlan", "Resubmit", "SetField", "Table", "Term", "ToController", "ToGroup",
    "moved_bits",
]  # fmt: skip

Cookie = NewType("Cookie", int)
GroupId = NewType("GroupId", int)

OFPP_IN_PORT = 0xFFFFFFF8
OFPP_CONTROLLER = 0xFFFFFFFD
MAX_BUCKETS = 500
"""Above about 2,500 buckets OVS 3.1 corrupts its group description reply and drops the connection."""


_IN_PORT_BITS = 16
"""Actions may not touch OXM_OF_IN_PORT (OpenFlow 1.5.1, 7.2.6.8); OVS lets them have NXM_OF_IN_PORT, of 16 bits."""


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
class ToApp:
    """Hand a copy of the frame to `packet_in` of the app whose flow this is; only a third party's flow may.

    The compiler makes of it what the switch can do (`ofctl.pipeline.anchors`).
    """

    tag: int = 0
    """The app's own, 0 to 255: says which flow it was."""

    def __post_init__(self) -> None:
        if not 0 <= self.tag <= 255:
            raise ValueError(f"a tag of ToApp is 0 to 255, not {self.tag}")

    def __str__(self) -> str:
        return f"to_app({self.tag})"


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
        bits = _IN_PORT_BITS if self.field.name == IN_PORT.name else self.field.bits
        if not 0 <= self.value < 1 << bits:
            raise ValueError(f"{self.field.name} := {self.value:#x} does not fit in {bits} bits")
        if not self.field.writable:
            raise ValueError(f"{self.field.name} can be matched and not set")

    def __str__(self) -> str:
        if isinstance(self.field, RegisterSlice):
            return f"set_field:{self.value << self.field.start:#x}/{self.field.mask:#x}->reg{self.field.register}"
        return f"set_field:{format_value(self.field, self.value)}->{self.field.name}"


def moved_bits(field: Field | RegisterSlice) -> int:
    """Return how much of a field OVS copies: of in_port the 16-bit form, of vlan_vid not the bit that says "tagged"."""
    return {IN_PORT.name: _IN_PORT_BITS, VLAN_VID.name: 12}.get(field.name, field.bits)


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


@dataclass(frozen=True, slots=True)
class Move:
    """Copy a field or register slice into another of the same width (OpenFlow 1.5.1, 5.8; NXAST_REG_MOVE up to 1.4).

    Here IN_PORT has 16 bits and VLAN_VID 12.
    """

    source: Field | RegisterSlice
    target: Field | RegisterSlice

    def __post_init__(self) -> None:
        if moved_bits(self.source) != moved_bits(self.target):
            raise ValueError(
                f"{self.source.name} moves {moved_bits(self.source)} bits and {self.target.name} "
                f"{moved_bits(self.target)}: only the same width can be moved; take a register slice that fits"
            )
        if not self.target.writable:
            raise ValueError(f"{self.target.name} can be matched and not set")

    def __str__(self) -> str:
        return f"move:{_nxm(self.source)}->{_nxm(self.target)}"


@dataclass(frozen=True, slots=True)
class Conntrack:
    """Look the packet's connection up in a zone (NXAST_CT, ovs-actions(7)); only for flows that match IPv4 or IPv6.

    `zone` is its number, or a register slice of 16 bits that has it. `commit` keeps a new connection, and `mark` sets
    (value, mask) bits of its ct_mark; `force` makes the packet's direction the original one. With `table` a copy goes
    on there with its connection's state, the actions behind this one see the packet untracked.

    To the packets that it looks up, OVS before 3.6 may add fragments that it still has of somebody else's, and what
    follows happens to them, too. With `cloned` nothing follows: the actions behind have not met it (NXAST_CLONE).
    """

    zone: int | RegisterSlice
    commit: bool = False
    table: Table | None = None
    mark: tuple[int, int] | None = None
    force: bool = False
    cloned: bool = False

    def __post_init__(self) -> None:
        bits = self.zone.bits if isinstance(self.zone, RegisterSlice) else 16
        if bits != 16 or (isinstance(self.zone, int) and not 0 <= self.zone <= 0xFFFF):
            raise ValueError(f"ct zone {self.zone} is neither 0 to 65535 nor a register slice of 16 bits")
        if not self.commit and (self.force or self.mark is not None):
            raise ValueError("ct with force or a mark must commit")
        if self.mark is not None:
            value, mask = self.mark
            if not 0 < mask <= 0xFFFFFFFF or value & ~mask:
                raise ValueError(f"ct mark {value:#x}/{mask:#x} does not fit in 32 bits, or in its mask")

    def __str__(self) -> str:
        parts = ["commit"] * self.commit + ["force"] * self.force
        parts += [f"table={self.table}"] if self.table is not None else []
        parts.append(f"zone={_nxm(self.zone) if isinstance(self.zone, RegisterSlice) else self.zone}")
        if self.mark is not None:
            parts.append(f"exec(set_field:{self.mark[0]:#x}/{self.mark[1]:#x}->ct_mark)")
        lookup = f"ct({','.join(parts)})"
        return f"clone({lookup})" if self.cloned else lookup


@dataclass(frozen=True, slots=True, order=True)
class Conjunction:
    """The flow is one of those that meet clause `clause` (from 1) of `clauses` (2 to 64) of conjunction `conj_id`.

    A flow that matches CONJ_ID takes the packets that meet all clauses, if all flows have one priority (ovs-fields(7)).
    """

    conj_id: int
    clause: int
    clauses: int

    def __post_init__(self) -> None:
        if not (0 <= self.conj_id <= 0xFFFFFFFF and 1 <= self.clause <= self.clauses and 2 <= self.clauses <= 64):
            raise ValueError(f"{self}: a conjunction has 2 to 64 clauses, counted from 1, and an id of 32 bits")

    def __str__(self) -> str:
        return f"conjunction({self.conj_id},{self.clause}/{self.clauses})"


Action = (
    Output | OutputRegister | ToController | ToApp | ToGroup | SetField | Move | PushVlan | PopVlan | Resubmit | Learn
    | Conntrack | Conjunction
)  # fmt: skip


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
        for action in self.actions:
            if type(action) is Conntrack:
                if action.table is not None and action.table.number <= self.table.number:
                    raise ValueError(f"ct from table {self.table} back to {action.table}")
            elif type(action) is Conjunction:
                self._check_conjunctions()
                break

    def _check_conjunctions(self) -> None:
        """OVS refuses other actions beside them, and keeps them in the order in which they came."""
        if self.goto is not None or any(type(action) is not Conjunction for action in self.actions):
            raise ValueError(f"table {self.table}: conjunctions go with no other action and no goto")
        named = [(action.conj_id, action.clause) for action in self.actions if isinstance(action, Conjunction)]
        if named != sorted(set(named)):
            raise ValueError(f"table {self.table}: conjunctions are not in order of id and clause, or repeat one")

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
