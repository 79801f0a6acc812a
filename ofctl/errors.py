"""Every error that ofctl raises on purpose.

    OfctlError
    ├── InvalidField           INVALID_ARGUMENT     a field of the request is wrong by itself
    ├── Refused                FAILED_PRECONDITION  the request is right, the present state forbids it
    ├── NotFound               NOT_FOUND
    ├── AlreadyExists          ALREADY_EXISTS       the same name with another content
    ├── PermissionDenied       PERMISSION_DENIED    someone else plugged it
    ├── NotSupported           UNIMPLEMENTED        in the contract, not built yet
    ├── ResourceExhausted      RESOURCE_EXHAUSTED   no number, disk or memory left
    ├── Aborted                ABORTED              an unplug overtook the plug
    ├── Cancelled              CANCELLED            the caller went away
    ├── DeadlineExceeded       DEADLINE_EXCEEDED
    ├── ConfigError            (at start only)      names the option
    │   └── AppRefused         (at start only)      an app cannot be loaded
    └── DriverError            INTERNAL             the host did not do what it was asked
        ├── AppFailed                               an app made no flows, or flows that it may not make
        ├── BinderFailed       UNAVAILABLE          what an app binds ports to does not do it
        ├── DeviceError                             the kernel refused (netlink, ioctl)
        ├── AttachError                             OVS gave no ofport, or an error in its row
        ├── SwitchRejected                          OpenFlow error: nothing of the bundle is in
        ├── Unavailable        UNAVAILABLE          not connected; retry
        │   └── SwitchUnavailable
        └── OutcomeUnknown     UNAVAILABLE          sent, and no answer: done or not done, nobody saw

Each class knows its gRPC status code, whether the same call may succeed later, and a default reason
(an UPPER_SNAKE word for `google.rpc.ErrorInfo`); an instance adds the stage of the plug, the field
and the subject. docs/errors.md is generated from this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class OfctlError(Exception):
    """Base of all; `str()` is a sentence for the user that names the subject and the cure."""

    code: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False
    default_reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        stage: str | None = None,
        subject: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.stage = stage
        self.subject = subject
        self.metadata = dict(metadata or {})
        self.retry_after_ms = retry_after_ms


class InvalidField(OfctlError):
    """A field of the request is wrong by itself; `field` is its path in the message, such as `port.mac_address`."""

    code = "INVALID_ARGUMENT"
    default_reason = "INVALID_FIELD"

    def __init__(self, field: str, problem: str, *, reason: str | None = None) -> None:
        super().__init__(f"{field}: {problem}", reason=reason, subject=field)
        self.field = field
        self.problem = problem


class Refused(OfctlError):
    """The request is well-formed, and the state of the host or of another resource forbids it."""

    code = "FAILED_PRECONDITION"
    default_reason = "PRECONDITION_FAILED"


class NotFound(OfctlError):
    """No resource has that id."""

    code = "NOT_FOUND"
    default_reason = "NOT_FOUND"


class AlreadyExists(OfctlError):
    """A resource has that id (or address, or device) already, with another content."""

    code = "ALREADY_EXISTS"
    default_reason = "ALREADY_EXISTS"


class PermissionDenied(OfctlError):
    """Another principal plugged this port."""

    code = "PERMISSION_DENIED"
    default_reason = "NOT_OWNER"


class NotSupported(OfctlError):
    """Part of the contract that this version does not build."""

    code = "UNIMPLEMENTED"
    default_reason = "NOT_SUPPORTED"


class ResourceExhausted(OfctlError):
    """A number space, the disk or the configured capacity is used up."""

    code = "RESOURCE_EXHAUSTED"
    retryable = True
    default_reason = "RESOURCE_EXHAUSTED"


class Aborted(OfctlError):
    """Another call overtook this one (an unplug of the port in flight)."""

    code = "ABORTED"
    default_reason = "ABORTED"


class Cancelled(OfctlError):
    """The caller went away before the plug was confirmed."""

    code = "CANCELLED"
    default_reason = "CANCELLED"


class DeadlineExceeded(OfctlError):
    """The deadline of the call passed; `metadata['outcome']` says what is known to be there."""

    code = "DEADLINE_EXCEEDED"
    retryable = True
    default_reason = "DEADLINE_EXCEEDED"


class ConfigError(OfctlError):
    """An option of the configuration has a bad value; the message names group and option."""

    code = "FAILED_PRECONDITION"
    default_reason = "BAD_CONFIGURATION"


class AppRefused(ConfigError):
    """An app cannot be loaded; the message names it and says why."""

    default_reason = "APP_REFUSED"

    def __init__(self, app: str, problem: str = "it is not right") -> None:
        super().__init__(f"app {app} cannot be loaded: {problem}", subject=app, metadata={"app": app})


class DriverError(OfctlError):
    """The host did not do what it was asked."""

    default_reason = "DRIVER_FAILED"


class AppFailed(DriverError):
    """An app made no flows, or flows that it may not make; `metadata['app']` names it. A defect of the app."""

    default_reason = "APP_FAILED"

    def __init__(self, app: str, problem: str = "is not right") -> None:
        super().__init__(f"app {app} {problem}", subject=app, metadata={"app": app})


class BinderFailed(DriverError):
    """What a binder needs outside of the host does not answer, or not as it should; `metadata['binder']` names it."""

    code = "UNAVAILABLE"
    retryable = True
    default_reason = "BINDER_FAILED"


class DeviceError(DriverError):
    """The kernel refused a netlink or ioctl request; `metadata['errno']` is the symbolic errno."""

    default_reason = "DEVICE_FAILED"


class AttachError(DriverError):
    """OVSDB took the port and ovs-vswitchd did not: `error` is set, or ofport is -1."""

    default_reason = "ATTACH_FAILED"


class SwitchRejected(DriverError):
    """The switch answered a change with an OpenFlow error; nothing of the bundle is in.

    `change` is the position of the guilty change in the commit, or None if the switch named none.
    `metadata` has `of_error` (such as OFPBAC_BAD_OUT_GROUP) and `change` (in ovs-ofctl syntax).
    """

    default_reason = "SWITCH_REJECTED"

    def __init__(self, message: str, *, change: int | None = None, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, metadata=metadata)
        self.change = change


class Unavailable(DriverError):
    """A server that the call needs is not connected; nothing was changed."""

    code = "UNAVAILABLE"
    retryable = True
    default_reason = "UNAVAILABLE"


class SwitchUnavailable(Unavailable):
    """The bridge is not connected, or not yet resynced."""

    default_reason = "SWITCH_DISCONNECTED"


class OutcomeUnknown(DriverError):
    """The request was sent and the connection went before the answer: it may or may not have been done."""

    code = "UNAVAILABLE"
    retryable = True
    default_reason = "OUTCOME_UNKNOWN"
