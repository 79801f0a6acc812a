"""Turns what the kernel refuses into DeviceError, with the sentence that helps."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ofctl.errors import DeadlineExceeded, DeviceError

_CURES = {
    errno.EPERM: "this needs CAP_NET_ADMIN in the user namespace that owns the network namespace",
    errno.EMFILE: "the process has no file descriptor left; raise LimitNOFILE",
    errno.ENFILE: "the system has no file descriptor left; raise fs.file-max",
    errno.ENOSPC: "the kernel has no room or number left for another device",
    errno.ENOMEM: "the kernel has no memory left for it",
}


@contextmanager
def step(doing: str, *, subject: str, not_permitted: str = "") -> Iterator[None]:
    """Raise DeviceError for an OSError in the block, DeadlineExceeded for a TimeoutError.

    `doing` completes "cannot ..."; `subject` is the device; `not_permitted` is the cure for EPERM if it is a special
    one.
    """
    try:
        yield
    except TimeoutError as error:
        raise DeadlineExceeded(f"the deadline passed before the kernel could {doing}", subject=subject) from error
    except OSError as error:
        cure = not_permitted if error.errno == errno.EPERM else ""
        raise refused(doing, error, subject=subject, cure=cure) from error


def refused(doing: str, error: OSError, *, subject: str, cure: str = "", reason: str | None = None) -> DeviceError:
    """Return the DeviceError for an OSError."""
    number = error.errno or 0
    cure = cure or _CURES.get(number, "")
    return DeviceError(
        f"cannot {doing}: {error.strerror or error}" + (f" ({cure})" if cure else ""),
        reason=reason,
        subject=subject,
        metadata={"errno": errno.errorcode.get(number, str(number)), "device": subject},
    )
