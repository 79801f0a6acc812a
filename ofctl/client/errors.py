"""What a failed call raises: one class for each gRPC code, with all that the agent said.

ApiError
├── InvalidArgument      a field is wrong: `field` is its path
├── FailedPrecondition   the present state forbids it
├── NotFound
├── AlreadyExists        the same name with another content
├── PermissionDenied     somebody else plugged it
├── Unimplemented        in the contract, not built yet
├── ResourceExhausted
├── Aborted              an unplug overtook the plug, or came between it and its duplicate; or another revision
├── Cancelled
├── DeadlineExceeded     ask `request(error.request_id)` for the outcome
├── Unavailable          the agent or its switch is not there; retried already
└── Internal             a defect, or the host did not do what it was asked
"""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

DETAILS_KEY = "grpc-status-details-bin"


class ApiError(Exception):
    """A call failed. `str()` is one sentence for people; the attributes are for programs."""

    code: grpc.StatusCode
    reason: str = ""
    """A word to branch on, such as SWITCH_DISCONNECTED; docs/errors.md lists them. Empty if the agent said none."""
    field: str = ""
    """Path of the guilty field, such as `port.mac_address`."""
    subject: str = ""
    """What the error is about: an id, or the path of a field."""
    stage: str = ""
    """Stage of the plug that failed."""
    outcome: str = ""
    """What is left of a plug: `ABSENT`, `UNKNOWN`, `IN_PROGRESS`; of an update, `UNCHANGED` for `ABSENT`. Empty if
    nothing was begun or nobody told."""
    retry_after_s: float | None = None
    """Seconds after which the same call may succeed; None if it will not."""
    request_id: str = ""
    """Of a plug or update: what to ask `request()` for."""
    error_id: str = ""
    """Of a defect: the id in the agent's log."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.metadata: dict[str, str] = {}


class InvalidArgument(ApiError):
    """A field of the request is wrong by itself."""


class FailedPrecondition(ApiError):
    """The request is well-formed, and the state of the host or of another resource forbids it."""


class NotFound(ApiError):
    """No resource has that id."""


class AlreadyExists(ApiError):
    """A resource has that id, address or device already, with another content."""


class PermissionDenied(ApiError):
    """Another principal plugged this port."""


class Unimplemented(ApiError):
    """Part of the contract that the agent does not build."""


class ResourceExhausted(ApiError):
    """A number space, the disk or the configured capacity is used up."""


class Aborted(ApiError):
    """Another call overtook this one."""


class Cancelled(ApiError):
    """The call was cancelled."""


class DeadlineExceeded(ApiError):
    """The deadline passed."""


class Unavailable(ApiError):
    """The agent cannot be reached, or its switch cannot."""


class Internal(ApiError):
    """A defect, or the host did not do what it was asked."""


_CLASSES: dict[grpc.StatusCode, type[ApiError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.INTERNAL: Internal,
}


def api_error(failed: grpc.RpcError, *, request_id: str = "") -> ApiError:
    """Return what a failed call (sync or asyncio) of grpc means. `request_id` is that of the request, if it has one."""
    assert isinstance(failed, grpc.Call | grpc.aio.AioRpcError)
    code: grpc.StatusCode = failed.code()
    error = _CLASSES.get(code, ApiError)(code, failed.details() or code.name)
    error.request_id = request_id
    for key, value in failed.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            _read_details(error, status_pb2.Status.FromString(value))
    return error


def _read_details(error: ApiError, status: status_pb2.Status) -> None:
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    request = error_details_pb2.RequestInfo()
    for detail in status.details:
        if detail.Unpack(info):
            error.metadata = dict(info.metadata)
            error.reason = info.reason
            error.subject = error.metadata.get("subject", "")
            error.stage = error.metadata.get("stage", "")
            error.outcome = error.metadata.get("outcome", "")
            error.request_id = error.metadata.get("request_id", error.request_id)
        elif detail.Unpack(bad) and bad.field_violations:
            error.field = bad.field_violations[0].field
        elif detail.Unpack(retry):
            error.retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
        elif detail.Unpack(request):
            error.error_id = request.request_id
