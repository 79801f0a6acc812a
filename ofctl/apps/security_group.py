"""What may reach a port and what may leave it: the rules of its security groups."""

# ruff: noqa: ARG002  (every app is asked in the same way; few look at all that they are given)
from __future__ import annotations

from collections.abc import Iterable

from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.flow import Flow, Match
from ofctl.pipeline.tables import (
    DELIVER,
    EGRESS_STATE,
    EGRESS_TRACK,
    EGRESS_VERDICT,
    FORWARD,
    INGRESS_STATE,
    INGRESS_TRACK,
    INGRESS_VERDICT,
    RULES_TRACKED,
    RULES_UNTRACKED,
    Priority,
    host_cookie,
)
from ofctl.pipeline.world import World


class SecurityGroups(FeatureApp):
    """Default deny in, allow out; stateful with a connection table for each port, or stateless."""

    name = "security_group"
    tables = (
        EGRESS_TRACK,
        EGRESS_STATE,
        EGRESS_VERDICT,
        INGRESS_TRACK,
        INGRESS_STATE,
        INGRESS_VERDICT,
        RULES_TRACKED,
        RULES_UNTRACKED,
    )

    def host_flows(self, world: World) -> Iterable[Flow]:
        yield Flow(EGRESS_TRACK, Priority.MISS, Match(), host_cookie(), goto=FORWARD)
        yield Flow(INGRESS_TRACK, Priority.MISS, Match(), host_cookie(), goto=DELIVER)
