"""What the apps' counters have counted: the statistics of the flows that they name."""

from __future__ import annotations

from collections.abc import Iterable

from ofctl.openflow.switch import Switch
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.tables import CookieKind, cookie_owner


async def count(switch: Switch, apps: Iterable[FeatureApp], *, deadline: float) -> dict[str, int]:
    """Return frames by `app.APP.COUNTER`, one dump for each table that has counters. Raises SwitchUnavailable."""
    counted = {}
    for app in apps:
        for name in sorted({counter.table for counter in app.counters}):
            statistics = await switch.count_packets(table=app.table(name).number, deadline=deadline)
            for counter in app.counters:
                if counter.table == name:
                    counted[f"app.{app.name}.{counter.name}"] = sum(
                        flow.packets
                        for flow in statistics
                        if flow.priority == counter.priority and cookie_owner(flow.cookie)[0] is CookieKind.PORT
                    )
    return counted
