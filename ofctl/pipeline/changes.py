"""The changes that a switch can be asked for: what `diff` returns and `Switch.commit` takes."""

from __future__ import annotations

from dataclasses import dataclass

from ofctl.pipeline.flow import Bucket, Cookie, Flow, Group, GroupId


@dataclass(frozen=True, slots=True)
class FlowKey:
    """Identity of a flow that only the switch knows: `match` is its OXM list as the switch dumped it."""

    table_number: int
    priority: int
    match: bytes


@dataclass(frozen=True, slots=True)
class AddFlow:
    """Add the flow, or replace the content of the one with its identity."""

    flow: Flow

    def __str__(self) -> str:
        return f"add-flow {self.flow}"


@dataclass(frozen=True, slots=True)
class DeleteFlow:
    """Delete exactly the flow with this identity (OFPFC_DELETE_STRICT); no error if there is none."""

    flow: Flow | FlowKey

    def __str__(self) -> str:
        return f"delete-flow {self.flow}"


@dataclass(frozen=True, slots=True)
class DeleteFlowsByCookie:
    """Delete every flow with exactly this cookie, in one table or (None) in all."""

    cookie: Cookie
    table_number: int | None = None

    def __str__(self) -> str:
        return f"delete-flows cookie={self.cookie:#x}/-1"


@dataclass(frozen=True, slots=True)
class AddGroup:
    """Add a group; the switch refuses if it exists."""

    group: Group

    def __str__(self) -> str:
        return f"add-group {self.group}"


@dataclass(frozen=True, slots=True)
class ModifyGroup:
    """Replace the buckets of a group that exists."""

    group: Group

    def __str__(self) -> str:
        return f"mod-group {self.group}"


@dataclass(frozen=True, slots=True)
class DeleteGroup:
    """Delete a group and every flow that uses it."""

    group_id: GroupId

    def __str__(self) -> str:
        return f"delete-group group_id={self.group_id}"


@dataclass(frozen=True, slots=True)
class InsertBucket:
    """Add one bucket at the end of a group (OFPGC_INSERT_BUCKET): O(1) where ModifyGroup is O(buckets)."""

    group_id: GroupId
    bucket: Bucket

    def __str__(self) -> str:
        return f"insert-buckets group_id={self.group_id},{self.bucket}"


@dataclass(frozen=True, slots=True)
class RemoveBucket:
    """Remove one bucket from a group (OFPGC_REMOVE_BUCKET)."""

    group_id: GroupId
    bucket_id: int

    def __str__(self) -> str:
        return f"remove-buckets group_id={self.group_id},command_bucket_id={self.bucket_id}"


Change = AddFlow | DeleteFlow | DeleteFlowsByCookie | AddGroup | ModifyGroup | DeleteGroup | InsertBucket | RemoveBucket
