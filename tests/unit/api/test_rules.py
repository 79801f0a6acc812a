"""Rules of the client: a line becomes the message of the contract, and is written again."""

from __future__ import annotations

import pytest

from ofctl.client import IcmpMessage, PortRange, RuleDirection, SecurityRule, rule
from ofctl.client.rules import line

IN, OUT = RuleDirection.RULE_DIRECTION_INGRESS, RuleDirection.RULE_DIRECTION_EGRESS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ingress tcp 80", SecurityRule(direction=IN, protocol="tcp", ports=PortRange(first=80, last=80))),
        ("egress ipv6", SecurityRule(direction=OUT, ip_version=6)),
        ("egress 47 to 192.0.2.9", SecurityRule(direction=OUT, protocol="47", remote_prefix="192.0.2.9")),
        ("ingress icmp type 8", SecurityRule(direction=IN, protocol="icmp", icmp=IcmpMessage(type=8))),
        ("ingress from group web", SecurityRule(direction=IN, remote_security_group_id="web")),
        ("egress to address-group dns", SecurityRule(direction=OUT, remote_address_group_id="dns")),
    ],
)
def test_a_line_and_its_message(text: str, message: SecurityRule) -> None:
    assert rule(text) == message and line(message) == text


def test_a_wrong_line_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"'in tpc': rule.protocol: 'tpc' is no IP protocol"):
        rule("in tpc")
