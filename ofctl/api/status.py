"""Errors of ofctl as google.rpc.Status: the code, one sentence, and details for programs.

https://cloud.google.com/apis/design/errors says which detail is for what. Texts are cut, since a status travels in
HTTP/2 trailers, which gRPC refuses above 8 KiB or so (grpc-core, GRPC_ARG_MAX_METADATA_SIZE).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from ofctl.errors import InvalidField, OfctlError, OutcomeUnknown, Refused
from ofctl.model.confirmation import Outcome

DOMAIN = "ofctl"
DEFAULT_RETRY_MS = 200
MAX_TEXT_BYTES = 600
DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
"""Delay that a client's retry policy must obey (gRPC proposal A6)."""

Trailers = tuple[tuple[str, str | bytes], ...]


def status_code(error: OfctlError) -> grpc.StatusCode:
    """Return the gRPC code of the error's class."""
    return grpc.StatusCode[error.code]


def status_of(
    error: OfctlError, *, context: Mapping[str, str] | None = None, error_id: str | None = None
) -> status_pb2.Status:
    """Return the status that tells `error` to the caller.

    `context` is added to the metadata of ErrorInfo where the error has nothing of that name. `error_id` names the
    entry in the log.
    """
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=_metadata(error, context or {}))
    ]
    message = _cut(error.message)
    if isinstance(error, InvalidField):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(error.field), description=_cut(error.problem), reason=error.reason
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, Refused):
        precondition = error_details_pb2.PreconditionFailure.Violation(
            type=error.reason, subject=_cut(error.subject or ""), description=message
        )
        details.append(error_details_pb2.PreconditionFailure(violations=[precondition]))
    if error.retryable:
        delay = Duration()
        delay.FromMilliseconds(retry_ms(error))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if error_id is not None:
        details.append(error_details_pb2.RequestInfo(request_id=error_id))
    status = status_pb2.Status(code=status_code(error).value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def trailers_of(error: OfctlError, status: status_pb2.Status) -> Trailers:
    """Return the trailing metadata that carries the details."""
    trailers: Trailers = ((DETAILS_KEY, status.SerializeToString()),)
    if error.retryable:
        trailers += ((PUSHBACK_KEY, str(retry_ms(error))),)
    return trailers


def retry_ms(error: OfctlError) -> int:
    """Return the delay after which a retryable call is worth another try, in milliseconds."""
    return error.retry_after_ms if error.retry_after_ms is not None else DEFAULT_RETRY_MS


def in_ports(error: OfctlError, number: int | None) -> OfctlError:
    """Make a path that begins with `port` begin with `ports[number]`, as in PlugPorts; return the error."""
    if isinstance(error, InvalidField):
        error.field = _numbered(error.field, number)
    if error.subject is not None:
        error.subject = _numbered(error.subject, number)
    error.message = _numbered(error.message, number)
    return error


def _numbered(path: str, number: int | None) -> str:
    return re.sub(r"^port(?=[.:])", "ports" if number is None else f"ports[{number}]", path)


def _metadata(error: OfctlError, context: Mapping[str, str]) -> dict[str, str]:
    values = {**context, **error.metadata}
    if error.stage is not None:
        values["stage"] = error.stage
    if error.subject is not None:
        values["subject"] = error.subject
    if isinstance(error, OutcomeUnknown):
        values.setdefault("outcome", Outcome.UNKNOWN.name)
    if "outcome" in values:
        values["outcome"] = values["outcome"].upper()
    return {name: _cut(value) for name, value in values.items() if value}


def _cut(text: str) -> str:
    """Return `text`, cut if it is longer than a trailer should carry."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= MAX_TEXT_BYTES:
        return encoded.decode()
    return encoded[:MAX_TEXT_BYTES].decode(errors="ignore") + "..."
