"""Network namespaces that come and go, in a mount namespace of the test's own; ip(8) makes and removes them."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ofctl.netlink.namespace_watch import NamespaceChange, NamespaceWatch
from tests.functional.netlink.conftest import run

RED = "/run/netns/red"
CLONE_NEWNS = 0x00020000
MS_BIND = 4096
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def mounts() -> Iterator[None]:
    """Run the test in a mount namespace of its own, with an empty /run. Only what runs in the main thread sees it."""
    before = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    directory = Path.cwd()
    try:
        assert _libc.unshare(CLONE_NEWNS) == 0
        run("mount", "--make-rslave", "/")
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        yield
    finally:
        assert _libc.setns(before, CLONE_NEWNS) == 0
        os.close(before)
        os.chdir(directory)


@contextmanager
def process(*argv: str) -> Iterator[int]:
    """A process that sleeps, below `argv`; ready when it has become `sleep`."""
    child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv, "sleep", "infinity"])
    try:
        deadline = time.monotonic() + 5
        while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\n":
            assert time.monotonic() < deadline
            time.sleep(0.001)
        yield child.pid
    finally:
        child.kill()
        child.wait()


class Watcher:
    """What was told of each path, in order: True for present."""

    def __init__(self) -> None:
        self.watch = NamespaceWatch()
        self.told: dict[str, list[bool]] = {}
        self._news = asyncio.Event()

    def add(self, path: str) -> Callable[[], None]:
        self.told[path] = []
        return self.watch.watch(path, self._tell)

    def _tell(self, change: NamespaceChange) -> None:
        self.told[change.path].append(change.present)
        self._news.set()

    async def expect(self, path: str, *told: bool) -> None:
        """Return when exactly this has been told of a path; fail after some seconds."""
        try:
            async with asyncio.timeout(5):
                while self.told[path] != list(told):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"told only {self.told}") from None

    async def everything(self) -> None:
        """Return when what was done before has been told."""
        if "/run/marker" not in self.told:
            self.add("/run/marker")
        await self.expect("/run/marker", False)
        run("touch", "/run/marker")
        run("mount", "--bind", "/proc/self/ns/net", "/run/marker")
        await self.expect("/run/marker", False, True)
        run("umount", "/run/marker")
        await self.expect("/run/marker", False, True, False)
        self.told["/run/marker"] = [False]


@pytest.fixture
async def watcher(mounts: None) -> AsyncIterator[Watcher]:
    """Descriptors must be back where they were at the end."""
    descriptors = len(os.listdir("/proc/self/fd"))
    made = Watcher()
    yield made
    made.watch.close()
    made.watch.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def test_made_and_removed_by_ip(watcher: Watcher) -> None:
    """Not even the directory is there at first. The file is made before the mount, and is no namespace yet."""
    watcher.add(RED)
    await watcher.expect(RED, False)
    run("ip", "netns", "add", "red")
    await watcher.expect(RED, False, True)
    run("ip", "netns", "delete", "red")
    await watcher.expect(RED, False, True, False)
    run("ip", "netns", "add", "red")
    await watcher.expect(RED, False, True, False, True)


async def test_one_that_is_there_already(watcher: Watcher) -> None:
    run("ip", "netns", "add", "red")
    watcher.add(RED)
    await watcher.expect(RED, True)
    run("ip", "netns", "delete", "red")
    await watcher.expect(RED, True, False)


async def test_by_way_of_var_run(watcher: Watcher) -> None:
    """/var/run is a symbolic link to /run."""
    path = "/var/run/netns/red"
    watcher.add(path)
    await watcher.expect(path, False)
    run("ip", "netns", "add", "red")
    await watcher.expect(path, False, True)


async def test_replaced_between_two_looks(watcher: Watcher) -> None:
    run("ip", "netns", "add", "red")
    watcher.add(RED)
    await watcher.expect(RED, True)
    run("sh", "-c", "ip netns delete red; ip netns add red")
    await watcher.expect(RED, True, False, True)
    await watcher.everything()
    assert watcher.told[RED] == [True, False, True]


async def test_the_same_namespace_under_a_new_file(watcher: Watcher) -> None:
    """As when the kernel gives a new namespace the inode of one that ended: the name tells that it is another."""
    with process("unshare", "--net") as pid:
        again = f"touch {RED}; mount --bind /proc/{pid}/ns/net {RED}"
        run("sh", "-c", f"mkdir /run/netns; {again}")
        watcher.add(RED)
        await watcher.expect(RED, True)
        run("sh", "-c", f"umount {RED}; rm {RED}; {again}")
        await watcher.expect(RED, True, False, True)


async def test_a_file_that_stays_no_namespace(watcher: Watcher) -> None:
    watcher.add(RED)
    os.mkdir("/run/netns")
    run("touch", RED)
    os.mkfifo("/run/fifo")
    watcher.add("/run/fifo")
    run("sh", "-c", f"mount --bind /proc/self/ns/uts {RED}")
    await watcher.everything()
    assert watcher.told[RED] == watcher.told["/run/fifo"] == [False]


async def test_a_mount_over_a_parent_hides_it_and_brings_it_back(watcher: Watcher) -> None:
    run("ip", "netns", "add", "red")
    watcher.add(RED)
    await watcher.expect(RED, True)
    run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
    await watcher.expect(RED, True, False)
    run("umount", "/run/netns")
    await watcher.expect(RED, True, False, True)


@pytest.mark.parametrize("path", ["/run/a/b/c/red", "/run/a/./b/../b//c/red"])
async def test_parents_come_one_after_the_other_and_are_renamed(watcher: Watcher, path: str) -> None:
    watcher.add(path)
    await watcher.expect(path, False)
    with process("unshare", "--net") as pid:
        for step in ("/run/a", "/run/a/b", "/run/a/b/c"):
            os.mkdir(step)
            await watcher.everything()
        os.symlink(f"/proc/{pid}/ns/net", "/run/a/b/c/red")
        await watcher.expect(path, False, True)
        os.rename("/run/a/b", "/run/a/d")
        await watcher.expect(path, False, True, False)
        os.rename("/run/a/d", "/run/a/b")
        await watcher.expect(path, False, True, False, True)
        os.unlink("/run/a/b/c/red")
        await watcher.expect(path, False, True, False, True, False)
    assert watcher.told[path] == [False, True, False, True, False]


async def test_a_link_that_comes_with_its_parents_at_once(watcher: Watcher) -> None:
    path = "/run/a/b/c/red"
    watcher.add(path)
    await watcher.expect(path, False)
    with process("unshare", "--net") as pid:
        run("sh", "-c", f"mkdir -p /run/a/b/c; ln -s /proc/{pid}/ns/net {path}")
        await watcher.expect(path, False, True)


async def test_a_link_ends_with_its_process_and_may_be_made_anew(watcher: Watcher) -> None:
    watcher.add("/run/red")
    with process("unshare", "--net") as pid:
        os.symlink(f"/proc/{pid}/ns/net", "/run/red")
        await watcher.expect("/run/red", True)
    await watcher.expect("/run/red", True, False)
    with process("unshare", "--net") as pid:
        run("ln", "-sfn", f"/proc/{pid}/ns/net", "/run/red")
        await watcher.expect("/run/red", True, False, True)
        os.unlink("/run/red")
        os.symlink("/run/red", "/run/red")  # a loop
        await watcher.expect("/run/red", True, False, True, False)


async def test_a_process_ends_and_does_not_come_back(watcher: Watcher) -> None:
    with process("unshare", "--net") as pid:
        path = f"/proc/{pid}/ns/net"
        watcher.add(path)
        await watcher.expect(path, True)
        os.kill(pid, signal.SIGKILL)
        await watcher.expect(path, True, False)  # nobody has reaped it yet
        assert not watcher.watch._processes
    watch = next(each for each in watcher.watch._watches if each.path == path)
    # What the next process of that number has is not it.
    watch.ended.add(os.getpid())
    watch.path = f"/proc/{os.getpid()}/ns/net"
    await watcher.everything()
    assert watcher.told[path] == [True, False]


async def test_paths_that_lead_nowhere(watcher: Watcher) -> None:
    paths = ["/proc/4194304/ns/net", "/proc/self/exe", "/etc/hostname/red", "/", "", "/run/\0", "/run/" + "x" * 300]
    for path in paths:
        watcher.add(path)
    await watcher.everything()
    assert all(watcher.told[path] == [False] for path in paths)


async def test_a_process_that_has_ended_already(watcher: Watcher) -> None:
    with process() as pid:
        pass
    watcher.add(f"/proc/{pid}/ns/net")
    await watcher.expect(f"/proc/{pid}/ns/net", False)
    assert [each.ended for each in watcher.watch._watches] == [{pid}]


async def test_mounts_of_the_host_arrive_in_a_service_s_namespace(mounts: None) -> None:
    """A service of systemd runs in a slave of the host's mount namespace, and `ip netns` in the host's own."""
    run("mount", "--make-rshared", "/run")
    with ExitStack() as stack:
        host = stack.enter_context(process())
        assert _libc.unshare(CLONE_NEWNS) == 0
        run("mount", "--make-rslave", "/")
        watcher = Watcher()
        stack.callback(watcher.watch.close)
        watcher.add(RED)
        await watcher.expect(RED, False)
        run("nsenter", f"--mount=/proc/{host}/ns/mnt", "ip", "netns", "add", "red")
        await watcher.expect(RED, False, True)
        run("nsenter", f"--mount=/proc/{host}/ns/mnt", "ip", "netns", "delete", "red")
        await watcher.expect(RED, False, True, False)


async def test_who_has_enough_hears_no_more(watcher: Watcher) -> None:
    ends = [watcher.add("/run/red"), watcher.add("/run/other")]
    never = watcher.add("/run/never")
    never()
    await watcher.expect("/run/red", False)
    with process("unshare", "--net") as pid:
        os.symlink(f"/proc/{pid}/ns/net", "/run/red")
        await watcher.expect("/run/red", False, True)
        ends[0]()
        ends[0]()
        os.unlink("/run/red")
        await watcher.everything()
    assert watcher.told == {"/run/red": [False, True], "/run/other": [False], "/run/never": [], "/run/marker": [False]}


async def test_what_is_no_longer_watched_costs_nothing(watcher: Watcher) -> None:
    with process("unshare", "--net") as pid:
        ends = [watcher.add(path) for path in ("/run/a/b", f"/proc/{pid}/ns/net", "/run/a/c")]
        await watcher.expect("/run/a/c", False)
        for end in ends:
            end()
        assert (watcher.watch._places, watcher.watch._processes) == ({}, {})
        assert "inotify wd:" not in run("cat", f"/proc/{os.getpid()}/fdinfo/{watcher.watch._inotify.fileno()}")


async def test_lost_events_are_made_up_for(watcher: Watcher) -> None:
    """More events than the kernel keeps: fs.inotify.max_queued_events."""
    limit = int(run("cat", "/proc/sys/fs/inotify/max_queued_events"))
    watcher.add("/run/red")
    await watcher.expect("/run/red", False)
    with process("unshare", "--net") as pid:
        # The loop does not run meanwhile, and equal neighbours would be merged.
        for number in range(limit // 2 + 10):
            os.mkdir("/run/busy" if number % 2 else "/run/busier")
            os.rmdir("/run/busy" if number % 2 else "/run/busier")
        os.symlink(f"/proc/{pid}/ns/net", "/run/red")
        await watcher.expect("/run/red", False, True)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let the process open nothing more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("mounted", [False, True])
async def test_no_descriptor_is_left_to_look_with(watcher: Watcher, mounted: bool) -> None:
    run("touch", "/run/red") if mounted else None
    watcher.add("/run/red")
    await watcher.expect("/run/red", False)
    with process("unshare", "--net") as pid:
        with no_descriptors():
            if mounted:
                assert _libc.mount(f"/proc/{pid}/ns/net".encode(), b"/run/red", None, MS_BIND, None) == 0
            else:
                os.symlink(f"/proc/{pid}/ns/net", "/run/red")
            await asyncio.sleep(0.05)
            assert watcher.told["/run/red"] == [False]
        await watcher.expect("/run/red", False, True)


async def test_no_descriptor_is_left_to_hear_of_an_end(watcher: Watcher) -> None:
    """The link changes to another process of the same namespace, which needs no look but another pidfd."""
    with process("unshare", "--net") as first:
        os.symlink(f"/proc/{first}/ns/net", "/run/red")
        watcher.add(f"/proc/{first}/ns/net")
        watcher.add("/run/red")
        await watcher.expect("/run/red", True)
        with process("nsenter", f"--net=/proc/{first}/ns/net") as second:
            with no_descriptors():
                os.symlink(f"/proc/{second}/ns/net", "/run/new")
                os.rename("/run/new", "/run/red")
                await asyncio.sleep(0.05)
            async with asyncio.timeout(5):
                while second not in watcher.watch._processes:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.01)
        await watcher.expect("/run/red", True, False)


async def test_what_is_made_while_we_begin_to_listen_is_followed(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory comes after the path was followed and before its parent is watched: no event tells of it."""
    os.mkdir("/run/a")
    add = watcher.watch._inotify.add

    def late(directory: str) -> int:
        if directory == "/run/a":
            os.makedirs("/run/a/b", exist_ok=True)
        return add(directory)

    monkeypatch.setattr(watcher.watch._inotify, "add", late)
    watcher.add("/run/a/b/red")
    await watcher.expect("/run/a/b/red", False)
    with process("unshare", "--net") as pid:
        os.symlink(f"/proc/{pid}/ns/net", "/run/a/b/red")
        await watcher.expect("/run/a/b/red", False, True)


async def test_who_ends_it_at_the_first_word_hears_no_second(watcher: Watcher) -> None:
    told = []
    run("ip", "netns", "add", "red")

    def tell(change: NamespaceChange) -> None:
        told.append(change.present)
        if not change.present:
            end()

    end = watcher.watch.watch(RED, tell)
    await watcher.everything()
    run("sh", "-c", "ip netns delete red; ip netns add red")
    await watcher.everything()
    assert told == [True, False]


async def test_two_hundred_paths_are_looked_at_in_milliseconds(watcher: Watcher) -> None:
    for number in range(200):
        watcher.add(f"/run/netns/{number}")
    await watcher.expect("/run/netns/199", False)
    began = time.process_time()
    for _ in range(10):
        watcher.watch._look(tuple(watcher.watch._watches))
    assert (time.process_time() - began) / 10 < 0.02
    began, used = time.monotonic(), time.process_time()
    await asyncio.sleep(0.2)
    assert time.process_time() - used < 0.5 * (time.monotonic() - began)
