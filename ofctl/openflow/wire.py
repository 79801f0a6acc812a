"""Flows, groups and changes as OpenFlow 1.5 bytes, in the form in which OVS itself would dump them.

Encoding with os-ken costs about 160 us a flow; 40 flows a port would be as long as the whole plug. So the hot path is
struct with pre-compiled templates, and os-ken is the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Iterable

from ofctl.openflow.images import FlowImage, GroupImage, image_digest
from ofctl.pipeline.changes import Change
from ofctl.pipeline.flow import Flow, Group


def flow_image(flow: Flow) -> FlowImage:
    """Return what `Switch.dump_flows` would say of this flow once the switch has it."""
    raise NotImplementedError(flow)


def group_image(group: Group) -> GroupImage:
    """Return what `Switch.dump_groups` would say of this group once the switch has it."""
    raise NotImplementedError(group)


def flow_digest(flows: Iterable[Flow | FlowImage]) -> tuple[int, str]:
    """Return count and SHA-256 of flows, desired or dumped: equal exactly if the flows are."""
    return image_digest(flow if isinstance(flow, FlowImage) else flow_image(flow) for flow in flows)


def encode_change(change: Change, xid: int) -> bytes:
    """Return the flow-mod or group-mod that asks for `change`, with this transaction id."""
    raise NotImplementedError(change, xid)
