"""The thread in which one app handles its frames: a queue that drops, an account of how the app fares.

A thread, because `packet_in` is somebody else's code and may block: the loop goes on. It shares the interpreter, so a
handler that computes without end makes everything slower; it cannot stop anything.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ofctl.engine.dropping import Limits, SenderLimits
from ofctl.log import fields
from ofctl.model.host import AppState, AppView
from ofctl.pipeline.app import ANSWERED, CROWDED, FAILED, HANDLED, LIMITED, MUTES
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.packets import Injection, PacketIn, injections
from ofctl.pipeline.world import World

logger = logging.getLogger(__name__)

QUEUE = 128
"""Frames that wait for one app."""
SLOW_S = 0.05
"""For one frame, before it is said that the app is slow."""
BLOCKED_S = 3.0
"""With one frame, before the app is called blocked."""
COUNTERS = (HANDLED, ANSWERED, FAILED, CROWDED, LIMITED, MUTES)


class PacketHandler:
    """One app's thread. Everything but the thread itself belongs to the event loop in which this is made."""

    def __init__(
        self,
        app: FeatureApp,
        *,
        world: Callable[[], World],
        send: Callable[[Sequence[Injection]], None],
        limits: Limits,
    ) -> None:
        """`world` is asked in the thread and must take no lock; `send` is called in the loop."""
        assert app.place is not None
        self.app = app
        self.limits = SenderLimits(limits)
        self.counters = collections.Counter(dict.fromkeys(COUNTERS, 0))
        self.last_error = ""
        self._place = app.place
        self._world = world
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._frames: queue.SimpleQueue[PacketIn | None] = queue.SimpleQueue()
        self._begun: float | None = None
        """Instant of time.monotonic() at which the thread took the frame that it has; written by it alone."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"app-{app.name}", daemon=True)

    def start(self) -> None:
        """Handle frames from now on."""
        self._thread.start()

    def close(self) -> None:
        """Handle no more. A thread that is blocked is left to itself; it does not keep the process from ending."""
        self._stopping = True
        self._frames.put(None)

    def offer(self, packet: PacketIn) -> None:
        """Have a frame handled, or count it as dropped if too many wait."""
        if self._frames.qsize() >= QUEUE:
            self.counters[CROWDED] += 1
        else:
            self._frames.put(packet)

    def view(self, view: AppView) -> AppView:
        """Return `view` with what is known here."""
        begun = self._begun
        blocked = begun is not None and time.monotonic() - begun >= BLOCKED_S
        return replace(
            view,
            state=AppState.BLOCKED if blocked else view.state,
            queue_depth=self._frames.qsize(),
            dropped_packet_ins=self.counters[CROWDED] + self.counters[LIMITED],
            last_error=self.last_error or view.last_error,
        )

    # The thread

    def _run(self) -> None:
        while not self._stopping and (packet := self._frames.get()) is not None:
            self._begun = begun = time.monotonic()
            answers: list[Injection] = []
            problem: BaseException | None = None
            try:
                world = self._world()
                answers = injections(self.app.packet_in(packet, world), self._place, world)
            except BaseException as error:  # noqa: BLE001 - the top of the thread; an app may raise SystemExit too
                problem = error
            took_s = time.monotonic() - begun
            self._begun = None
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._done, answers, problem, took_s)

    def _done(self, answers: list[Injection], problem: BaseException | None, took_s: float) -> None:
        if self._stopping:
            return
        self.counters[HANDLED] += 1
        if problem is not None:
            self.counters[FAILED] += 1
            self._say(f"packet_in failed: {problem!r}")
        elif took_s >= SLOW_S:
            self._say(f"packet_in took {took_s:.2f} s for one frame; it must not take {SLOW_S} s")
        if answers:
            self.counters[ANSWERED] += len(answers)
            self._send(answers)

    def _say(self, error: str) -> None:
        """Keep an error, and log it unless it was the last one too: a handler may fail for each frame."""
        if error != self.last_error:
            self.last_error = error
            logger.error("app %s: %s", self.app.name, error, extra=fields(app=self.app.name))
