"""Is the sender of a frame the guest of the port that it came in through?"""

# ruff: noqa: ARG002  (every app is asked in the same way; few look at all that they are given)
from __future__ import annotations

from collections.abc import Iterable

from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.flow import Flow, Match
from ofctl.pipeline.tables import SENDER, SOURCE_KNOWN, Priority, host_cookie
from ofctl.pipeline.world import World


class PortSecurity(FeatureApp):
    """Binds MAC, IPv4, IPv6, ARP and ND senders to the port's addresses and allowed pairs."""

    name = "port_security"
    tables = (SENDER,)

    def host_flows(self, world: World) -> Iterable[Flow]:
        yield Flow(SENDER, Priority.MISS, Match(), host_cookie(), goto=SOURCE_KNOWN)
