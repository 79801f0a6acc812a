"""The DATAPATH level: nothing cached in the datapath forwards by tables of before.

A barrier says that the OpenFlow tables have changed. What the datapath has cached (megaflows) follows when the
revalidator threads have dumped it and translated it anew. `revalidator/wait` returns at the end of a dump, and three
facts of OVS 3.1 make one such wait too little (ofproto/ofproto-dpif-upcall.c, ofproto/ofproto-dpif.c, lib/unixctl.c):

- It returns at the end of the dump that is *running* when it comes, and that one may have passed a megaflow before
  the tables changed. So two in a row are needed: the second dump began after the first had ended.
- The revalidators hear of changed tables at the begin of the main loop's turn *after* the one that sent the barrier
  reply, and a control command can still be served in that same turn. A connection gets ten commands served in one
  turn, so the wait goes as number eleven behind ten that do nothing.
- Dumps begin at least 5 ms apart, and by themselves every 500 ms. Changed tables wake the revalidators early, so a
  flow is put in a table that no packet reaches, and taken out again, for as long as the wait lasts.

Two dumps take 10 ms at least. So while little is cached it is thrown away instead (`revalidator/purge`, 0.4 ms): the
next packet of each flow looks in the tables. With the userspace datapath that loses no packet: the one who misses is
the one who looks.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from ofctl.errors import DeadlineExceeded, DriverError, OfctlError, SwitchUnavailable
from ofctl.openflow.switch import Switch
from ofctl.openflow.unixctl import ControlClosed, ControlSocket, control_path
from ofctl.pipeline.changes import AddFlow, DeleteFlow
from ofctl.pipeline.flow import Cookie, Flow, Match, Table

SCRATCH_TABLE = 253
"""Reached by no packet; a flow put in it and taken out again makes the revalidators run now."""
PURGE_LIMIT = 64
"""Megaflows up to which purging is less disturbance than two dumps: as many upcalls take 2 or 3 ms at most."""
COMMANDS_PER_TURN = 10
DUMPS_NEEDED = 2
FIRST_NUDGE_S = 0.001
MAX_NUDGE_S = 0.05

_DATAPATH = re.compile(r"^\s+flows\s+: \(current ", re.MULTILINE)
_KEYS = re.compile(r"\(keys (\d+)\)")
"""Of one revalidator; their sum is the number of megaflows now (`current` is up to 100 ms old)."""
_NEXT_TURN = ("version",) * COMMANDS_PER_TURN


class _Caller:
    """Somebody who waits; `dumps` is how many that were asked for after his arrival must still end."""

    def __init__(self) -> None:
        self.dumps = DUMPS_NEEDED
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Revalidators:
    """The revalidator threads of the ovs-vswitchd whose run directory this is.

    One connection to its control socket, made when first needed and again when ovs-vswitchd's pid has changed.
    `purge_limit` is the number of megaflows up to which they are thrown away instead of checked.
    """

    def __init__(
        self, rundir: Path, switch: Switch, *, scratch_table: int = SCRATCH_TABLE, purge_limit: int = PURGE_LIMIT
    ) -> None:
        self.rundir = rundir
        self.switch = switch
        self.purge_limit = purge_limit
        table = Table(scratch_table, "scratch", "openflow", "makes the revalidators run", dynamic=True)
        scratch = Flow(table, 0, Match(), Cookie(0))
        self._nudge = (AddFlow(scratch), DeleteFlow(scratch))
        self._callers: list[_Caller] = []
        self._work: asyncio.Task[None] | None = None
        self._control: ControlSocket | None = None

    async def settle(self, *, deadline: float) -> None:
        """Return when every megaflow agrees with the tables as they were when this was called, or newer.

        Callers share the work: what was begun after a caller's arrival counts for him, nothing before.
        Raises SwitchUnavailable if ovs-vswitchd is not there or goes away, DeadlineExceeded.
        """
        caller = _Caller()
        self._callers.append(caller)
        if self._work is None:
            self._work = asyncio.create_task(self._serve(), name="revalidators")
        try:
            async with asyncio.timeout_at(deadline):
                await caller.settled
        except TimeoutError:
            raise DeadlineExceeded("the datapath was not checked against the new tables before the deadline") from None
        finally:
            if caller in self._callers:
                self._callers.remove(caller)
                if not self._callers:
                    self._stop()

    async def close(self) -> None:
        """Close the connection; whoever still waits gets SwitchUnavailable."""
        work = self._work
        self._stop()
        if work is not None:
            await asyncio.wait([work])
        self._fail(SwitchUnavailable("ofctl is stopping"))

    def _stop(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
        self._disconnect()

    async def _serve(self) -> None:
        """Work until nobody waits. The top of a task: whatever goes wrong reaches the callers."""
        try:
            while self._callers:
                await self._round()
        except (ControlClosed, OSError, ValueError) as error:
            self._disconnect()
            self._fail(SwitchUnavailable(f"ovs-vswitchd is not available: {error}"))
        except Exception as error:  # noqa: BLE001
            self._disconnect()
            self._fail(DriverError(f"ovs-vswitchd did not check the datapath: {error}"))
        finally:
            if self._work is asyncio.current_task():
                self._work = None

    async def _round(self) -> None:
        control = await self._connected()
        present = tuple(self._callers)
        show = (await control.run("upcall/show"))[0]
        cached = sum(map(int, _KEYS.findall(show)))
        # Of several datapaths in one ovs-vswitchd `revalidator/wait` can wait for none.
        purge = cached <= self.purge_limit or len(_DATAPATH.findall(show)) > 1
        if purge:
            await control.run("revalidator/purge")
        else:
            await self._hurried_dump(control)
        for caller in present:
            caller.dumps -= DUMPS_NEEDED if purge else 1
            if caller.dumps <= 0 and caller in self._callers:
                self._callers.remove(caller)
                if not caller.settled.done():
                    caller.settled.set_result(None)

    async def _hurried_dump(self, control: ControlSocket) -> None:
        answer = asyncio.ensure_future(control.run(*_NEXT_TURN, "revalidator/wait"))
        pause = FIRST_NUDGE_S
        try:
            while not answer.done():
                self.switch.send_unconfirmed(self._nudge)
                await asyncio.wait([answer], timeout=pause)
                pause = min(2 * pause, MAX_NUDGE_S)
            answer.result()
        finally:
            answer.cancel()

    async def _connected(self) -> ControlSocket:
        path = control_path(self.rundir)
        if self._control is not None and self._control.path != path:
            self._disconnect()
        if self._control is None:
            self._control = await ControlSocket.connect(path)
        return self._control

    def _disconnect(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            control.close()

    def _fail(self, error: OfctlError) -> None:
        callers, self._callers = self._callers, []
        for caller in callers:
            if not caller.settled.done():
                caller.settled.set_exception(error)
