"""Which error of ours an error of the kernel becomes."""

from __future__ import annotations

import errno
import time

import pytest

from ofctl.errors import DeadlineExceeded, DeviceError
from ofctl.netlink import messages
from ofctl.netlink.kernel import step
from ofctl.netlink.rtnl import KernelError, RouteSocket


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EPERM, "CAP_NET_ADMIN"),
        (errno.ENFILE, "fs.file-max"),
        (errno.EMFILE, "LimitNOFILE"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_an_error_of_the_kernel_is_a_device_error(number: int, words: str) -> None:
    with pytest.raises(DeviceError, match=words) as caught, step("make tap-1", subject="tap-1"):
        raise KernelError(number, "", 0)
    assert str(caught.value).startswith("cannot make tap-1: ")
    assert caught.value.metadata == {"errno": errno.errorcode[number], "device": "tap-1"}
    assert caught.value.subject == "tap-1"


def test_the_kernel_s_own_words_are_passed_on() -> None:
    with pytest.raises(DeviceError, match="mtu greater than device maximum"), step("make tap-1", subject="tap-1"):
        raise KernelError(errno.EINVAL, "mtu greater than device maximum", 0)


def test_a_deadline_that_passes_in_between_is_no_device_error() -> None:
    route_socket = RouteSocket()
    try:
        with pytest.raises(DeadlineExceeded, match="make tap-1"), step("make tap-1", subject="tap-1"):
            route_socket.transact(messages.get_link(ifindex=1), deadline=time.monotonic() - 1)
        with pytest.raises(DeadlineExceeded), step("list", subject=""):
            route_socket.dump(messages.all_links(), deadline=time.monotonic() - 1)
        answers = route_socket.transact(messages.get_link(ifindex=1), deadline=time.monotonic() + 5)
    finally:
        route_socket.close()
    assert messages.read_link(answers[0][0]).device == "lo"
