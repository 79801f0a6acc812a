"""Rules in one line: what is written is read back, and what is wrong is told where it is."""

from __future__ import annotations

import pytest
from hypothesis import given

from ofctl.errors import InvalidField
from ofctl.model.rule_text import rule_of, rule_text
from ofctl.model.security import SecurityRule
from tests.functional.ovsdb.intent_values import rules


@given(rules())
def test_a_rule_is_read_back_as_it_was(rule: SecurityRule) -> None:
    assert rule_of(rule_text(rule), "rule") == rule


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("in", "ingress"),
        ("OUT", "egress"),
        ("in any from 192.0.2.9/32", "ingress from 192.0.2.9"),
        ("in TCP 80-80", "ingress tcp 80"),
        ("in 6 80-443 from 192.0.2.0/24", "ingress tcp 80-443 from 192.0.2.0/24"),
        ("in icmp from group web", "ingress icmp from group web"),
        ("in icmp type 8 code 0", "ingress icmp type 8 code 0"),
        ("out ipv6 udp 53 to address-group dns", "egress ipv6 udp 53 to address-group dns"),
        ("in ipv4 from group group", "ingress ipv4 from group group"),
        ("out 47 to 2001:db8::/32", "egress 47 to 2001:db8::/32"),
    ],
)
def test_short_and_long_forms(text: str, canonical: str) -> None:
    assert rule_text(rule_of(text, "rule")) == canonical


@pytest.mark.parametrize(
    ("text", "field", "problem"),
    [
        ("", "rule", "does not begin with in or out; write such as 'in tcp 80-443"),
        ("tcp 80", "rule", "does not begin with in or out"),
        ("in tpc 80", "rule.protocol", "'tpc' is no IP protocol; give icmp, tcp"),
        ("in tcp 80:443", "rule.ports", "neither a port nor a range such as 80-443"),
        ("in tcp 80-x", "rule.ports", "neither a port nor a range"),
        ("in tcp 80-", "rule.ports", "neither a port nor a range"),
        ("in tcp 70000", "rule.ports", "no range within 0 to 65535"),
        ("in tcp 443-80", "rule.ports", "443 to 80 is no range"),
        ("in any 80", "rule.ports", "needs protocol TCP, UDP or SCTP"),
        ("in icmp type", "rule.icmp.type", "write type and a number"),
        ("in icmp code 3", "rule.icmp.type", "a code needs a type before it"),
        ("in icmp type 8 code x", "rule.icmp.code", "'x' is no number"),
        ("in tcp type 8", "rule.icmp", "needs protocol ICMP"),
        ("in tcp 80 to 192.0.2.9", "rule.remote", "an ingress rule says 'from'"),
        ("out tcp 80 from 192.0.2.9", "rule.remote", "an egress rule says 'to'"),
        ("in tcp 80 from", "rule.remote_prefix", "no address, and no prefix"),
        ("in tcp 80 from 192.0.2.1/24", "rule.remote_prefix", "no prefix without host bits"),
        ("in from ::ffff:192.0.2.0/120", "rule.remote_prefix", "write 192.0.2.0/24"),
        ("in from fe80::1%3", "rule.remote_prefix", "no address, and no prefix"),
        ("in tcp 80 from group", "rule.remote", "'group' has no id after it"),
        ("in tcp 80 from group a/b", "rule.remote_security_group_id", "outside of letters"),
        ("in tcp 80 please", "rule", "not understood from 'please' on"),
        ("in ipv6 icmp", "rule.protocol", "ICMP is of IPv4"),
    ],
)
def test_what_is_wrong_is_told_where_it_is(text: str, field: str, problem: str) -> None:
    with pytest.raises(InvalidField) as caught:
        rule_of(text, "rule")
    assert caught.value.field == field and problem in caught.value.problem
