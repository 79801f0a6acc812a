"""One feature, one file: from intents to flows. Pure; an app never talks to the switch."""

from __future__ import annotations

from ofctl.apps.arp_nd import ArpNd
from ofctl.apps.classification import Classification
from ofctl.apps.delivery import Delivery
from ofctl.apps.flooding import Flooding
from ofctl.apps.forwarding import Forwarding
from ofctl.apps.port_security import PortSecurity
from ofctl.apps.provider import Provider
from ofctl.apps.security_group import SecurityGroups
from ofctl.pipeline.feature import FeatureApp

CORE_APPS: tuple[FeatureApp, ...] = (
    Classification(),
    PortSecurity(),
    Forwarding(),
    ArpNd(),
    Flooding(),
    Provider(),
    SecurityGroups(),
    Delivery(),
)
"""In the order in which a frame meets them."""
