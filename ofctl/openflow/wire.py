"""Flows, groups and changes as OpenFlow 1.5 bytes, in the form in which OVS itself would dump them.

Encoding with os-ken costs about 160 us a flow; 40 flows a port would be as long as the whole plug. So the hot path is
struct with pre-compiled templates, and os-ken is the oracle of the tests.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from ofctl.openflow.actions import action_list, instructions
from ofctl.openflow.images import FlowImage, GroupImage, image_digest
from ofctl.openflow.oxm import match_bytes
from ofctl.pipeline.changes import (
    AddFlow,
    AddGroup,
    Change,
    DeleteFlow,
    DeleteFlowsByCookie,
    DeleteGroup,
    FlowKey,
    InsertBucket,
    ModifyGroup,
    RemoveBucket,
)
from ofctl.pipeline.flow import Bucket, Flow, Group, GroupType

VERSION = 0x06
OFPT_FLOW_MOD = 14
OFPT_GROUP_MOD = 15
OFPFC_ADD = 0
OFPFC_DELETE = 3
OFPFC_DELETE_STRICT = 4
OFPGC_ADD = 0
OFPGC_MODIFY = 1
OFPGC_DELETE = 2
OFPGC_INSERT_BUCKET = 3
OFPGC_REMOVE_BUCKET = 5
OFPG_BUCKET_LAST = 0xFFFFFFFE
OFPG_BUCKET_ALL = 0xFFFFFFFF
OFPTT_ALL = 0xFF
ANY = 0xFFFFFFFF
"""OFPP_ANY, OFPG_ANY and OFP_NO_BUFFER are the same number."""
MAX_MESSAGE = 0xFFFF - 16
"""A message's own limit is 65,535 bytes; one inside of a bundle-add has that much less."""

GROUP_TYPES = {GroupType.ALL: 0}

_FLOW_MOD_BYTES = 48
_pack_header = struct.Struct("!BBHI").pack
_pack_flow_mod = struct.Struct("!BBHIQQBBHHHIIIHHHH").pack
_pack_group_mod = struct.Struct("!BBHIHBxIHxxI").pack
_pack_bucket = struct.Struct("!HHI").pack
_NO_TIMEOUTS = bytes(8)
"""Idle timeout, hard timeout, flags, importance."""


def flow_image(flow: Flow) -> FlowImage:
    """Return what `Switch.dump_flows` would say of this flow once the switch has it."""
    return FlowImage(_key(flow), flow.cookie, _NO_TIMEOUTS + instructions(flow.actions, flow.goto))


def group_image(group: Group) -> GroupImage:
    """Return what `Switch.dump_groups` would say of this group once the switch has it."""
    buckets = tuple((bucket.bucket_id, _bucket(bucket)) for bucket in group.buckets)
    return GroupImage(group.group_id, GROUP_TYPES[group.group_type], buckets)


def flow_digest(flows: Iterable[Flow | FlowImage]) -> tuple[int, str]:
    """Return count and SHA-256 of flows, desired or dumped: equal exactly if the flows are."""
    return image_digest(flow if isinstance(flow, FlowImage) else flow_image(flow) for flow in flows)


def message(kind: int, xid: int, body: bytes = b"") -> bytes:
    """Return an OpenFlow message. Raises ValueError if it is longer than a message can be."""
    length = 8 + len(body)
    if length > MAX_MESSAGE:
        raise ValueError(f"an OpenFlow message has at most {MAX_MESSAGE} bytes, this one would have {length}")
    return _pack_header(VERSION, kind, length, xid) + body


def encode_change(change: Change, xid: int) -> bytes:
    """Return the flow-mod or group-mod that asks for `change`, with this transaction id.

    Raises ValueError if it does not fit in a message or contradicts itself.
    """
    if isinstance(change, AddFlow):
        flow = change.flow
        content = instructions(flow.actions, flow.goto)
        return _flow_mod(OFPFC_ADD, xid, _key(flow), cookie=flow.cookie, content=content)
    if isinstance(change, DeleteFlow):
        return _flow_mod(
            OFPFC_DELETE_STRICT, xid, change.flow if isinstance(change.flow, FlowKey) else _key(change.flow)
        )
    if isinstance(change, DeleteFlowsByCookie):
        table = OFPTT_ALL if change.table_number is None else change.table_number
        return _flow_mod(OFPFC_DELETE, xid, FlowKey(table, 0, b""), cookie=change.cookie, cookie_mask=(1 << 64) - 1)
    return _encode_group_change(change, xid)


def _encode_group_change(change: AddGroup | ModifyGroup | DeleteGroup | InsertBucket | RemoveBucket, xid: int) -> bytes:
    match change:
        case AddGroup(group):
            return _group_mod(OFPGC_ADD, xid, group.group_id, OFPG_BUCKET_ALL, _buckets(group))
        case ModifyGroup(group):
            return _group_mod(OFPGC_MODIFY, xid, group.group_id, OFPG_BUCKET_ALL, _buckets(group))
        case DeleteGroup(group_id):
            return _group_mod(OFPGC_DELETE, xid, group_id, OFPG_BUCKET_ALL)
        case InsertBucket(group_id, bucket):
            return _group_mod(OFPGC_INSERT_BUCKET, xid, group_id, OFPG_BUCKET_LAST, _bucket(bucket))
        case RemoveBucket(group_id, bucket_id):
            return _group_mod(OFPGC_REMOVE_BUCKET, xid, group_id, bucket_id)


def _key(flow: Flow) -> FlowKey:
    return FlowKey(flow.table.number, flow.priority, match_bytes(flow.match))


def _flow_mod(
    command: int, xid: int, key: FlowKey, *, cookie: int = 0, cookie_mask: int = 0, content: bytes = b""
) -> bytes:
    match = key.match
    padding = -(4 + len(match)) % 8
    length = _FLOW_MOD_BYTES + 4 + len(match) + padding + len(content)
    if length > MAX_MESSAGE:
        raise ValueError(f"a flow of {length} bytes does not fit in an OpenFlow message")
    fixed = _pack_flow_mod(
        VERSION, OFPT_FLOW_MOD, length, xid, cookie, cookie_mask, key.table_number, command, 0, 0, key.priority,
        ANY, ANY, ANY, 0, 0, 1, 4 + len(match),
    )  # fmt: skip
    return b"".join((fixed, match, bytes(padding), content))


def _group_mod(command: int, xid: int, group_id: int, command_bucket_id: int, buckets: bytes = b"") -> bytes:
    length = 24 + len(buckets)
    if length > MAX_MESSAGE:
        raise ValueError(f"group {group_id} of {length} bytes does not fit in an OpenFlow message")
    kind = GROUP_TYPES[GroupType.ALL]
    return (
        _pack_group_mod(VERSION, OFPT_GROUP_MOD, length, xid, command, kind, group_id, len(buckets), command_bucket_id)
        + buckets
    )


def _buckets(group: Group) -> bytes:
    return b"".join([_bucket(bucket) for bucket in group.buckets])


def _bucket(bucket: Bucket) -> bytes:
    actions = action_list(bucket.actions)
    return _pack_bucket(8 + len(actions), len(actions), bucket.bucket_id) + actions


__all__ = ["FlowImage", "GroupImage", "encode_change", "flow_digest", "flow_image", "group_image", "message"]
