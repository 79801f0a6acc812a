"""The whole host against its intents."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ofctl.model.ids import PortId


class FindingKind(enum.Enum):
    """What is not as it is intended. The value's first word says where: kernel, switch's database, switch, intents."""

    DEVICE_MISSING = "device_missing"
    DEVICE_DIFFERS = "device_differs"
    DEVICE_LEFT_OVER = "device_left_over"
    ROW_MISSING = "row_missing"
    ROW_DIFFERS = "row_differs"
    ROW_LEFT_OVER = "row_left_over"
    ROW_FOREIGN = "row_foreign"
    """A port on our bridge that is not ours: reported, never removed."""
    FLOW_MISSING = "flow_missing"
    FLOW_LEFT_OVER = "flow_left_over"
    GROUP_DIFFERS = "group_differs"
    GROUP_LEFT_OVER = "group_left_over"
    SWITCH_CONFIG_DIFFERS = "switch_config_differs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference."""

    kind: FindingKind
    subject: str
    """The device, flow (ovs-ofctl syntax or table, priority and match) or group."""
    detail: str = ""
    port_id: PortId | None = None
    """The port that it is about, if it is about one."""
    repaired: bool = False
    """The repair that was asked for is done and was seen to hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What was compared, and what differed."""

    ports: int
    devices: int
    rows: int
    flows: int
    groups: int
    findings: tuple[Finding, ...]
