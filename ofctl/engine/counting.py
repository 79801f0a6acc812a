"""What the apps' counters have counted: the statistics of the flows that they name."""

from __future__ import annotations

from collections.abc import Iterable

from ofctl.openflow.switch import Switch
from ofctl.pipeline.app import FLOWS
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.tables import CookieKind, cookie_owner


async def count(switch: Switch, apps: Iterable[FeatureApp], *, deadline: float) -> dict[str, int]:
    """Return frames by `app.APP.COUNTER`, and flows by `app.APP.flows`: one dump for each table of the apps.

    Raises SwitchUnavailable.
    """
    counted: dict[str, int] = {}
    for app in apps:
        for name in app.place.tables if app.place is not None else ():
            statistics = await switch.count_packets(table=app.table(name).number, deadline=deadline)
            whole = f"app.{app.name}.{FLOWS}"
            counted[whole] = counted.get(whole, 0) + len(statistics)
            for counter in app.counters:
                if counter.table == name:
                    counted[f"app.{app.name}.{counter.name}"] = sum(
                        flow.packets
                        for flow in statistics
                        if flow.priority == counter.priority and cookie_owner(flow.cookie)[0] is CookieKind.PORT
                    )
    return counted
