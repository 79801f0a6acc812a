"""Random flows and groups that a switch could have."""

from __future__ import annotations

from hypothesis import strategies as st

from ofctl.pipeline import fields as f
from ofctl.pipeline.fields import FIELDS, Field, RegisterSlice
from ofctl.pipeline.flow import (
    Action,
    Bucket,
    Cookie,
    Flow,
    Group,
    GroupId,
    Match,
    Output,
    OutputRegister,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    Table,
    Term,
    ToGroup,
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
    slices = draw(st.lists(register_slices(), unique_by=lambda each: each.register, max_size=5))
    chosen: list[Field | RegisterSlice] = [*fields, *slices]
    return Match.of(*(draw(terms(each)) for each in chosen))


SETTABLE = tuple(each for each in FIELDS if each not in (f.IN_PORT, f.ETH_TYPE, f.IP_PROTO))


@st.composite
def set_fields(draw: st.DrawFn) -> SetField:
    field = draw(st.sampled_from(SETTABLE) | register_slices())
    return SetField(field, draw(st.integers(0, (1 << field.bits) - 1)))


actions: st.SearchStrategy[Action] = st.one_of(
    st.integers(1, 0xFFFFFFFF).map(Output),
    register_slices().map(OutputRegister),
    st.integers(0, 0xFFFFFF00).map(GroupId).map(ToGroup),
    set_fields(),
    st.sampled_from([0x8100, 0x88A8]).map(PushVlan),
    st.just(PopVlan()),
    st.integers(0, 254).map(lambda number: Resubmit(Table(number, "any", "test", "test"))),
)

flows = st.builds(
    Flow,
    table=st.integers(0, 249).map(lambda number: Table(number, "any", "test", "test")),
    priority=st.integers(0, 0xFFFF),
    match=matches(),
    cookie=st.integers(0, (1 << 64) - 1).map(Cookie),
    actions=st.lists(actions, max_size=6).map(tuple),
    goto=st.none() | st.just(LATER),
)

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
