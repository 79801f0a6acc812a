"""Terms and actions say what is wrong with them, and are written as ovs-ofctl does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ofctl.pipeline import fields as f
from ofctl.pipeline.fields import RegisterSlice
from ofctl.pipeline.flow import Action, Conjunction, Conntrack, Cookie, Flow, Match, Move, Output, SetField, Table, Term
from ofctl.pipeline.match import ct_state

FIRST, LATER = Table(1, "first", "test", "test"), Table(7, "later", "test", "test")
WORD, HALF = RegisterSlice("word", 2, 0, 32), RegisterSlice("half", 3, 16, 16)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (ct_state("+trk-inv+rpl"), "ct_state=+rpl-inv+trk"),
        (ct_state("-trk"), "ct_state=-trk"),
        (Term(f.CT_STATE, 0x40, 0x60), "ct_state=0x40/0x60"),
        (Term(f.CT_MARK, 1, 3), "ct_mark=0x1/0x3"),
        (Term(f.CT_NW_SRC, 0x0A000000, 0xFF000000), "ct_nw_src=10.0.0.0/255.0.0.0"),
        (Term(f.CT_IPV6_DST, 0xFD << 120), "ct_ipv6_dst=fd00:0:0:0:0:0:0:0"),
        (Term(f.CT_TP_DST, 0x50, 0xFFF0), "ct_tp_dst=0x50/0xfff0"),
        (Term(f.CONJ_ID, 7), "conj_id=7"),
        (Term(f.IP_FRAG, 0), "ip_frag=no"),
        (Term(f.IP_FRAG, 1, 1), "ip_frag=yes"),
        (Term(f.IP_FRAG, 1), "ip_frag=first"),
        (Term(f.IP_FRAG, 3), "ip_frag=later"),
        (Term(f.IP_FRAG, 0, 2), "ip_frag=not_later"),
        (Term(f.TCP_FLAGS, 0x02, 0x12), "tcp_flags=+syn-ack"),
        (Term(f.TCP_FLAGS, 0x02, 0x812), "tcp_flags=0x2/0x812"),
        (Term(f.ND_SLL, 5), "nd_sll=00:00:00:00:00:05"),
        (Move(f.ETH_SRC, f.ARP_SHA), "move:eth_src[]->arp_sha[]"),
        (Move(f.IN_PORT, HALF), "move:in_port[]->NXM_NX_REG3[16..31]"),
        (SetField(f.IN_PORT, 0), "set_field:0->in_port"),
        (Conjunction(9, 1, 3), "conjunction(9,1/3)"),
        (Conntrack(5), "ct(zone=5)"),
        (Conntrack(HALF, table=LATER), "ct(table=later,zone=NXM_NX_REG3[16..31])"),
        (Conntrack(5, table=LATER, cloned=True), "clone(ct(table=later,zone=5))"),
        (
            Conntrack(5, commit=True, mark=(1, 3), force=True),
            "ct(commit,force,zone=5,exec(set_field:0x1/0x3->ct_mark))",
        ),
    ],
)
def test_texts(value: Term | Action, text: str) -> None:
    assert str(value) == text


def flow(*actions: Action, goto: Table | None = None) -> Flow:
    return Flow(FIRST, 1, Match.of(Term(f.ETH_TYPE, 0x0800)), Cookie(1), actions, goto)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: ct_state("trk"), "form"),
        (lambda: ct_state("+trk-"), "form"),
        (lambda: ct_state("+trk+snat"), "snat is none of"),
        (lambda: ct_state("+trk-trk"), "twice"),
        (lambda: Match.of(Term(f.CT_TP_DST, 80)), "without ct_nw_proto"),
        (lambda: SetField(f.CT_MARK, 1), "ct_mark can be matched and not set"),
        (lambda: SetField(f.IN_PORT, 0x10000), "16 bits"),
        (lambda: Move(f.ETH_SRC, f.ETH_TYPE), "only the same width"),
        (lambda: Move(HALF, f.CT_ZONE), "ct_zone can be matched and not set"),
        (lambda: Move(f.IN_PORT, WORD), "in_port moves 16 bits"),
        (lambda: Conntrack(0x10000), "ct zone"),
        (lambda: Conntrack(WORD), "16 bits"),
        (lambda: Conntrack(5, force=True), "must commit"),
        (lambda: Conntrack(5, mark=(1, 1)), "must commit"),
        (lambda: Conntrack(5, commit=True, mark=(2, 1)), "mask"),
        (lambda: Conjunction(1, 0, 2), "counted from 1"),
        (lambda: Conjunction(1, 3, 2), "counted from 1"),
        (lambda: Conjunction(1, 1, 1), "2 to 64 clauses"),
        (lambda: flow(Conntrack(5, table=FIRST)), "ct from table first back to first"),
        (lambda: flow(Output(1), Conntrack(5, table=FIRST)), "ct from table first"),
        (lambda: flow(Conjunction(1, 1, 2), Output(1)), "no other action"),
        (lambda: flow(Output(1), Conjunction(1, 1, 2)), "no other action"),
        (lambda: flow(Conjunction(1, 1, 2), goto=LATER), "no goto"),
        (lambda: flow(Conjunction(2, 1, 2), Conjunction(1, 1, 2)), "in order"),
        (lambda: flow(Conjunction(1, 1, 2), Conjunction(1, 1, 2)), "repeat"),
    ],
)
def test_what_the_switch_would_refuse_or_forget_is_refused_here(make: Callable[[], object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()


def test_what_may_be_is_not_refused() -> None:
    flow(Conjunction(1, 1, 2), Conjunction(1, 2, 2), Conjunction(3, 1, 2))
    flow(Conntrack(5, commit=True), Conntrack(6, table=LATER), Output(1), goto=LATER)
    Match.of(Term(f.CT_TP_SRC, 8), Term(f.CT_TP_DST, 0), Term(f.CT_NW_PROTO, 1))
