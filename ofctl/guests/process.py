"""A guest's process: started with its bounds, watched, killed with all that it has started."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ofctl.guests import idle_group
from ofctl.guests.channel import ControlChannel, Json

STOP_GRACE_S = 1.5
AFTER_OTHERS, LAST = 5, 19
"""Niceness of a guest's session, against other sessions."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
ENVIRONMENT = {"OSKEN_HUB_TYPE": "native", "MALLOC_ARENA_MAX": "2", "PYTHONUNBUFFERED": "1"}
"""Threads; an address space that tells what is used; lines that are not lost when the process is killed."""


class GuestProcess:
    """One life of a guest. Start it from the main thread: the kernel kills it when the thread that started it ends.

    What it writes goes to the agent's standard error, without passing through the agent.
    """

    def __init__(self, argument: Json, *, on_message: Callable[[Json], None]) -> None:
        """`argument` is what `ofctl.ryu.runner` is given. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ofctl.ryu.runner", str(theirs.fileno()), json.dumps(argument)],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={**os.environ, **ENVIRONMENT},
            )
        self.channel = ControlChannel(ours, on_message=on_message)
        self._pidfd = os.pidfd_open(self._process.pid)
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Exit status, as `subprocess.Popen.returncode` has it."""
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    @property
    def pid(self) -> int:
        return self._process.pid

    def threads(self) -> int:
        """Return how many threads it has; 0 once it is gone."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("Threads:"):
                    return int(line.split()[1])
        return 0

    def cpu_s(self) -> float:
        """Return the seconds of processor time that it has used (proc(5), fields 14 and 15 of stat); 0 once gone."""
        with contextlib.suppress(OSError):
            values = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(values[11]) + int(values[12])) / TICKS_PER_S
        return 0.0

    def wanted_s(self) -> float:
        """Return the seconds of processor time that its threads have used or waited for; 0 once gone.

        The first two fields of schedstat, nanoseconds (Documentation/scheduler/sched-stats in the kernel); a thread
        that ends takes its own along.
        """
        total = 0
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{self.pid}/task"):
                with contextlib.suppress(OSError, ValueError):
                    used, waited, _ = Path(f"/proc/{self.pid}/task/{thread}/schedstat").read_text().split()
                    total += int(used) + int(waited)
        return total / 1e9

    def give_way(self, *, always: bool) -> None:
        """Let it run only when nobody else wants to, or like everybody else but after them (sched(7)).

        That holds within its session, and the session is one of its own: where the kernel has autogroups, sessions
        share the processors, and what a guest used up in the agent's would be missing there.
        """
        policy = os.SCHED_IDLE if always else os.SCHED_OTHER
        (idle_group.put_last if always else idle_group.take_back)(self.pid)
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.pid}/autogroup").write_text(str(LAST if always else AFTER_OTHERS))
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{self.pid}/task"):
                with contextlib.suppress(OSError):
                    os.sched_setscheduler(int(thread), policy, os.sched_param(0))

    def kill(self) -> None:
        """Kill it, and the processes that it has started in its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Ask it to end, kill it when it does not; return when it is gone."""
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                with contextlib.suppress(OSError):
                    await self.channel.send({"stop": True})
                await asyncio.shield(self.ended)
        except TimeoutError:
            pass
        finally:
            self.kill()
        await asyncio.shield(self.ended)

    def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        # The group first: once its leader is reaped the number may be given to somebody else.
        self.kill()
        idle_group.tidy()
        # Its last words, why it ends, may be there still: which of the two is seen first is chance.
        self.channel.take()
        self.channel.close()
        self.ended.set_result(self._process.wait())


def explain(status: int) -> str:
    """Return a sentence about an exit status."""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"its process was killed by {signal.Signals(-status).name}"
    return f"its process ended with status {status}"
