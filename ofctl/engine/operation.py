"""One plug, unplug or update of one or several ports, all or nothing: the task that walks the table of stages.

What each stage does is in `ofctl.engine.handlers`. The ports of an operation go through each stage side by side, and
what they share (one OVSDB transaction, one bundle, one wait for the revalidators) is shared with every other operation
that is there at that moment.

A stage is never torn off in the middle: an abort is looked at between two stages, so that the walk back up starts
when nothing of the walk down is under way any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from ofctl.engine.chassis import Chassis
from ofctl.engine.clock import Clock
from ofctl.engine.fences import Fences
from ofctl.engine.handlers import HANDLERS
from ofctl.engine.port_work import PortWork
from ofctl.engine.stages import FORWARD, TERMINAL, Event, Stage, Walk, deeper, next_stage
from ofctl.errors import Cancelled, DeadlineExceeded, OfctlError, OutcomeUnknown, Unavailable
from ofctl.log import bound, fields
from ofctl.model.confirmation import Level, Outcome, RequestRecord, StageTiming
from ofctl.model.port import Recovery
from ofctl.ovsdb.intents import IntentStore

logger = logging.getLogger(__name__)

ROLLBACK_SHARE = 0.2
"""Part of a call's time that is kept for rolling back, so that the reply can say "absent, verified"."""
ROLLBACK_RESERVE_MAX_S = 1.0
_SHOWN_FROM = {Stage.DATAPATH: Level.DATAPATH, Stage.READBACK: Level.READBACK, Stage.PROBE: Level.PIPELINE}
"""Stages that show something only from a level on; below it they are passed over, and leave no timing."""
HOPELESS = frozenset({"NO_NETNS"})
"""Reasons that no further attempt mends: an event tells when to begin again."""
ATTEMPT_S = 5.0
"""Deadline of one attempt of a stage that nobody waits for; it is tried again until it succeeds."""
BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 2.0
_DURABLE = frozenset({Stage.INTENT, Stage.RECORD, Stage.REVOCATION, Stage.OBLIVION, Stage.REVERSION, Stage.CLOSURE})
"""Stages that need the intents' database and no switch."""


@dataclass
class Operation:
    """A walk from `stage` to a terminal stage. Create it, keep the task of `run()`, and `wait()` for it."""

    chassis: Chassis
    store: IntentStore
    clock: Clock
    fences: Fences
    members: tuple[PortWork, ...]
    stage: Stage
    walk: Walk = Walk.PLUG
    level: Level = Level.DATAPATH
    forward_deadline: float | None = None
    """Instant of the loop's clock after which the walk down turns round; None: never."""
    records: list[RequestRecord] = field(default_factory=list)
    """Outcomes of the requests that wait for this; the first is the one that began it."""
    on_change: Callable[[Operation], None] = lambda _: None
    """Called after each stage but the last: a binding may have changed."""
    persistent: bool = False
    """Nobody asked for it now: it is tried again until it succeeds, whatever the recovery policy of the ports."""
    waiters: int = 0
    failure: OfctlError | None = None
    """Why the walk turned round, or why the last attempt of a KEEP_TRYING plug failed."""
    deepest: Stage | None = None
    """The stage farthest down that the walk has been in."""
    written: bool = False
    """An update's new specs may be in the intents' database."""
    mends_after: bool = False
    """The walk back ended with something that was not put back: the ports must be mended."""
    _abort: OfctlError | None = None
    _backoff_s: float = BACKOFF_FIRST_S
    _failed_once: asyncio.Event = field(default_factory=asyncio.Event)
    _finished: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def created(self) -> tuple[PortWork, ...]:
        """The ports that this operation made, and so may unmake."""
        return tuple(member for member in self.members if not member.existed)

    @property
    def first(self) -> RequestRecord | None:
        """The record of the request that began this."""
        return self.records[0] if self.records else None

    @property
    def confirmed(self) -> bool:
        return self.stage is Stage.CONFIRMED

    @property
    def finished(self) -> bool:
        return self._finished.is_set()

    @property
    def keeps_trying(self) -> bool:
        """Whether a failure is tried again instead of undone: never of a port that is there without it."""
        if self.walk is not Walk.PLUG:
            return False
        return self.persistent or all(member.spec.recovery is Recovery.KEEP_TRYING for member in self.members)

    @property
    def turned(self) -> bool:
        """Whether the walk goes back up, or will at the next stage: nobody who wants the ports may join."""
        return self.stage not in FORWARD or self._abort is not None or self.failure is not None

    def abort(self, error: OfctlError) -> None:
        """Turn the walk round at the next stage, for `error`; without effect on the walk back up."""
        self._abort = self._abort or error

    def join(self, record: RequestRecord, deadline: float) -> None:
        """Let another request wait for the same; the latest deadline counts."""
        if all(record.request_id != each.request_id for each in self.records):
            self.records.append(record)
        if self.forward_deadline is not None:
            self.forward_deadline = max(self.forward_deadline, forward_deadline(deadline))

    async def wait_finished(self, deadline: float) -> None:
        """Return when a terminal stage is reached, or raise DeadlineExceeded."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._finished.wait()
        except TimeoutError:
            raise self._out_of_time() from None

    async def wait_confirmed(self, deadline: float) -> None:
        """Return when the ports are confirmed; raise what went wrong, with the outcome in its metadata.

        If nobody waits any more before the ports are confirmed, the operation is aborted.
        """
        self.waiters += 1
        try:
            async with asyncio.timeout_at(deadline):
                await self._verdict()
        except TimeoutError:
            if self.failure is None:
                raise self._out_of_time() from None
        except asyncio.CancelledError:
            if self.waiters == 1 and not self.keeps_trying:
                self.abort(Cancelled("the caller went away before the port was confirmed"))
            raise
        finally:
            self.waiters -= 1
        if not self.confirmed:
            stopped = Unavailable("the agent stopped in the middle of the call", reason="AGENT_STOPPED")
            raise self._with_outcome(self.failure or stopped)

    async def verdict(self, deadline: float) -> bool:
        """Return when the walk is over (True), or has failed and goes on trying (False); raise DeadlineExceeded."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._verdict()
        except TimeoutError:
            raise self._out_of_time() from None
        return self.finished

    async def _verdict(self) -> None:
        watched = self._failed_once if self.keeps_trying else self._finished
        waits = {asyncio.ensure_future(event.wait()) for event in (watched, self._finished)}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _out_of_time(self) -> OfctlError:
        return self._with_outcome(
            DeadlineExceeded(
                f"stage {self.stage.value} was not over in time; ask GetPort by request_id for the outcome",
                stage=self.stage.value,
            )
        )

    def _with_outcome(self, error: OfctlError) -> OfctlError:
        if self.stage is Stage.ABSENT and self.created:
            outcome = Outcome.ABSENT
        elif self.stage in TERMINAL:
            # The ports were there before the call, and nothing of them was removed.
            outcome = Outcome.UNCHANGED
        else:
            outcome = Outcome.UNKNOWN
        error.metadata.setdefault("outcome", outcome.name)
        return error

    def end(self) -> None:
        """Let those who wait go on: nothing walks any more."""
        self._finished.set()

    async def run(self) -> None:
        """Walk until a terminal stage is reached. Cancelled only when the agent stops: the intent tells the rest."""
        names = ",".join(member.spec.port_id for member in self.members)
        with bound(port=names, request=self.records[0].request_id if self.records else None):
            try:
                while self.stage not in TERMINAL:
                    with bound(stage=self.stage.value):
                        event = await self._step()
                    self.deepest = deeper(self.deepest or self.stage, self.stage)
                    self.stage = next_stage(self.stage, event, self.deepest, self.walk)
                    if self.stage not in TERMINAL:
                        self.on_change(self)
            finally:
                self.end()
            self._log_end()

    def _log_end(self) -> None:
        if self.confirmed:
            spent = {f"{each.stage}_us": each.duration_us for each in self.members[0].timings}
            logger.info("confirmed", extra=fields(level=self.level.name, **spent))
        else:
            logger.info(self.stage.value, extra=fields(reason=self.failure.reason if self.failure else None))

    async def _step(self) -> Event:
        """Run the handler of the present stage and return what happened; no OfctlError leaves here."""
        handler = HANDLERS[self.stage]
        down = self.stage in FORWARD
        begun = self.clock.monotonic()
        try:
            if down:
                self._check_turn()
            await handler(self, self._deadline(down=down))
        except (Unavailable, OutcomeUnknown) as error:
            logger.warning("switch lost: %s", error)
            return await self._switch_lost(error, down=down)
        except OfctlError as error:
            return await self._failed(error, down=down)
        duration_us = int((self.clock.monotonic() - begun) * 1e6)
        if self.level >= _SHOWN_FROM.get(self.stage, self.level):
            for member in self.members:
                member.timings.append(StageTiming(stage=self.stage.value, duration_us=duration_us))
        self._backoff_s = BACKOFF_FIRST_S
        return Event.DONE

    def _deadline(self, *, down: bool) -> float:
        attempt = self.clock.monotonic() + ATTEMPT_S
        return self.forward_deadline if down and self.forward_deadline is not None else attempt

    def _check_turn(self) -> None:
        if self._abort is not None:
            raise self._abort
        if self.forward_deadline is not None and self.clock.monotonic() >= self.forward_deadline:
            raise DeadlineExceeded(f"no time was left for stage {self.stage.value}", stage=self.stage.value)

    async def _switch_lost(self, error: OfctlError, *, down: bool) -> Event:
        """Wait until what was lost is back, at most until the deadline."""
        durable = self.stage in _DURABLE
        for member in self.members:
            member.doubted = True
        try:
            if down:
                self._check_turn()
            if not durable:
                await self.chassis.wait_ready(deadline=self._deadline(down=down))
            await self._back_off()
        except OfctlError as late:
            late.__cause__ = error
            # That it is still away says less than why it was lost; an abort, or the deadline of a switch, says more.
            keep = isinstance(late, Unavailable) or (durable and isinstance(late, DeadlineExceeded))
            return await self._failed(error if keep else late, down=down)
        return Event.SWITCH_LOST

    async def _failed(self, error: OfctlError, *, down: bool) -> Event:
        error.stage = error.stage or self.stage.value
        logger.warning("failed: %s", error, extra=fields(reason=error.reason))
        if not down:
            if next_stage(self.stage, Event.FAILED, walk=self.walk) is self.stage:
                await self._back_off()
            else:
                self.mends_after = True
            return Event.FAILED
        self.failure = error
        self._failed_once.set()
        hopeless = self.persistent and error.reason in HOPELESS
        retry = self.keeps_trying and self._abort is None and not hopeless
        if retry and self.stage not in (Stage.ADMISSION, Stage.INTENT):
            self.forward_deadline = None
            await self._back_off()
            return Event.RETRY
        return Event.FAILED

    async def _back_off(self) -> None:
        left_s = float("inf") if self.forward_deadline is None else self.forward_deadline - self.clock.monotonic()
        await asyncio.sleep(self._backoff_s if left_s < 0 else min(self._backoff_s, left_s))
        self._backoff_s = min(self._backoff_s * 2, BACKOFF_MAX_S)


def forward_deadline(deadline: float, now: float | None = None) -> float:
    """Return until when a call that must be answered at `deadline` may walk down."""
    now = asyncio.get_running_loop().time() if now is None else now
    return deadline - min(ROLLBACK_RESERVE_MAX_S, max(0.0, deadline - now) * ROLLBACK_SHARE)
