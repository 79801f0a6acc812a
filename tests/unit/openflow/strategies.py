"""Random flows and groups that a switch could have."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from ofctl.pipeline import fields as f
from ofctl.pipeline.fields import FIELDS, Field, RegisterSlice
from ofctl.pipeline.flow import (
    Action,
    Bucket,
    Conjunction,
    Conntrack,
    Cookie,
    Flow,
    Group,
    GroupId,
    Match,
    Move,
    Output,
    OutputRegister,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    Table,
    Term,
    ToGroup,
    moved_bits,
)

LATER = Table(250, "later", "test", "where flows go")


@st.composite
def register_slices(draw: st.DrawFn) -> RegisterSlice:
    register, start = draw(st.integers(0, 15)), draw(st.integers(0, 31))
    bits = draw(st.integers(1, 32 - start))
    return RegisterSlice(f"r{register}_{start}_{bits}", register, start, bits)


@st.composite
def terms(draw: st.DrawFn, field: Field | RegisterSlice) -> Term:
    full = (1 << field.bits) - 1
    maskable = isinstance(field, RegisterSlice) or field.maskable
    mask = draw(st.none() | st.integers(1, full)) if maskable else None
    return Term(field, draw(st.integers(0, full)) & (full if mask is None else mask), mask)


@st.composite
def matches(draw: st.DrawFn) -> Match:
    """Any fields, whether or not they make sense together; at most one slice of each register."""
    fields = draw(st.lists(st.sampled_from(FIELDS), unique=True, max_size=6))
    if f.CT_NW_PROTO not in fields:
        fields = [each for each in fields if each not in (f.CT_TP_SRC, f.CT_TP_DST)]
    slices = draw(st.lists(register_slices(), unique_by=lambda each: each.register, max_size=5))
    chosen: list[Field | RegisterSlice] = [*fields, *slices]
    return Match.of(*(draw(terms(each)) for each in chosen))


SETTABLE = tuple(each for each in FIELDS if each.writable)


@st.composite
def set_fields(draw: st.DrawFn) -> SetField:
    field = draw(st.sampled_from(SETTABLE) | register_slices())
    return SetField(field, draw(st.integers(0, (1 << (16 if field == f.IN_PORT else field.bits)) - 1)))


@st.composite
def moves(draw: st.DrawFn) -> Move:
    source, target = draw(st.sampled_from(FIELDS) | register_slices()), draw(st.sampled_from(SETTABLE))
    if moved_bits(source) == moved_bits(target):
        return Move(source, target)
    one, other = draw(register_slices()), draw(register_slices())
    bits = min(one.bits, other.bits)
    return Move(replace(one, bits=bits), replace(other, bits=bits))


@st.composite
def conntracks(draw: st.DrawFn) -> Conntrack:
    zone = draw(st.integers(0, 0xFFFF) | st.just(RegisterSlice("zone", 5, 16, 16)))
    mask = draw(st.none() | st.integers(1, 0xFFFFFFFF))
    mark = None if mask is None else (draw(st.integers(0, 0xFFFFFFFF)) & mask, mask)
    commit = draw(st.booleans()) or mark is not None
    return Conntrack(zone, commit, draw(st.none() | st.just(LATER)), mark, force=commit and draw(st.booleans()))


actions: st.SearchStrategy[Action] = st.one_of(
    st.integers(1, 0xFFFFFFFF).map(Output),
    register_slices().map(OutputRegister),
    st.integers(0, 0xFFFFFF00).map(GroupId).map(ToGroup),
    set_fields(),
    conntracks(),
    st.sampled_from([0x8100, 0x88A8]).map(PushVlan),
    st.just(PopVlan()),
    st.integers(0, 254).map(lambda number: Resubmit(Table(number, "any", "test", "test"))),
)

conjunctions = st.lists(
    st.integers(2, 64).flatmap(
        lambda clauses: st.builds(Conjunction, st.integers(0, 0xFFFFFFFF), st.integers(1, clauses), st.just(clauses))
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda each: (each.conj_id, each.clause),
).map(lambda each: tuple(sorted(each)))

plain_flows = st.builds(
    Flow,
    table=st.integers(0, 249).map(lambda number: Table(number, "any", "test", "test")),
    priority=st.integers(0, 0xFFFF),
    match=matches(),
    cookie=st.integers(0, (1 << 64) - 1).map(Cookie),
    actions=st.lists(actions, max_size=6).map(tuple),
    goto=st.none() | st.just(LATER),
)
clause_flows = st.builds(
    Flow, table=st.just(LATER), priority=st.integers(0, 0xFFFF), match=matches(), cookie=st.just(Cookie(1)),
    actions=conjunctions,
)  # fmt: skip
flows = plain_flows | clause_flows

buckets = st.lists(
    st.builds(Bucket, bucket_id=st.integers(0, 0xFFFFFF00), actions=st.lists(actions, max_size=4).map(tuple)),
    unique_by=lambda bucket: bucket.bucket_id,
    max_size=8,
)
groups = st.builds(
    Group,
    group_id=st.integers(0, 0xFFFFFF00).map(GroupId),
    buckets=buckets.map(lambda each: tuple(sorted(each, key=lambda bucket: bucket.bucket_id))),
)
