"""One feature, one file: from intents to flows. Pure; an app never talks to the switch."""

from __future__ import annotations

from ofctl.apps.classification import Classification
from ofctl.apps.delivery import Delivery
from ofctl.apps.flooding import Flooding
from ofctl.apps.forwarding import Forwarding
from ofctl.apps.provider import Provider
from ofctl.pipeline.feature import FeatureApp

CORE_APPS: tuple[FeatureApp, ...] = (Classification(), Forwarding(), Flooding(), Provider(), Delivery())
"""In the order in which a frame meets them."""
