"""Security rules as people write them: messages of the contract from lines of text, and back."""

from __future__ import annotations

from ofctl.api.convert_security import rule_from_proto, rule_to_proto
from ofctl.errors import InvalidField
from ofctl.model.rule_text import rule_of, rule_text
from ofctl.v1.security_pb2 import SecurityRule


def rule(text: str) -> SecurityRule:
    """Return the rule that one line says, such as `in tcp 80-443 from 192.0.2.0/24` or `out udp 53 to group dns`.

    docs/api.md has the words and their order. Raises ValueError with what is wrong.
    """
    try:
        return rule_to_proto(rule_of(text, "rule"))
    except InvalidField as error:
        raise ValueError(f"{text!r}: {error.message}") from None


def line(given: SecurityRule) -> str:
    """Return a rule of the agent as the line that `rule` reads."""
    return rule_text(rule_from_proto(given, "rule"))
