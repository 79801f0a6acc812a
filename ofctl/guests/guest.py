"""One guest: keeps its process alive, its switch connected, and an account of how it is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofctl.errors import OfctlError
from ofctl.guests.channel import Json
from ofctl.guests.fence import Fence, FenceCounts, FenceLimits
from ofctl.guests.inner import InnerFence
from ofctl.guests.process import GuestProcess, explain
from ofctl.log import fields
from ofctl.model.host import AppState, AppView
from ofctl.pipeline.fence import FencedGuest
from ofctl.pipeline.world import World
from ofctl.settings import GuestSettings, GuestSpec

logger = logging.getLogger(__name__)

FIRST_RESTART_S = 0.2
HEALTHY_S = 30.0
"""A life that long makes the next pause short again."""
RECONNECT_S = (0.02, 1.0)
"""First and longest pause before the switch is tried again."""
BLOCKED_S = 3.0
"""In one handler, before the guest is called blocked."""
SILENT_S = 15.0
"""Without a word of the runner, which speaks every half second, before its process is killed."""
LOOK_INTERVAL_S = 0.5
CALM, BUSY = 0.2, 0.5
"""Of one processor, used or waited for: above the second a guest runs when nobody else wants to, below the first as
others do again."""
START_S = 10.0
"""For so long a guest may be busy with its start like everybody else: with nothing to spare it would take for ever."""
MAX_REQUESTS = 8
"""That a guest may have under way."""
MAX_ERROR = 300

Requests = Callable[[str, Json], Awaitable[Json]]
News = Callable[[], AsyncIterator[Json]]


@dataclass(frozen=True, slots=True)
class Inside:
    """Where a guest stands on the owned bridge. `world` returns what that forwards for at the moment."""

    place: FencedGuest
    world: Callable[[], World]


class Guest:
    """A guest on its bridge. Belongs to one event loop."""

    def __init__(
        self,
        spec: GuestSpec,
        settings: GuestSettings,
        management: Path,
        *,
        requests: Requests,
        news: News,
        inside: Inside | None = None,
    ) -> None:
        """`management` is the bridge's socket; `requests` answers a guest's request, `news` yields what it is told.

        `inside` is where it stands on the owned bridge; None on a bridge of its own.
        """
        self.spec = spec
        self._settings = settings
        self._management = management
        self._requests = requests
        self._news = news
        self._inside = inside
        self._limits = FenceLimits(settings.max_change_rate, settings.max_packet_rate, settings.max_flows)
        self._counts = FenceCounts()
        self._state = AppState.STARTING
        self._last_error = ""
        self._cause = ""
        """Why this life ends, if that is known better than from its exit status."""
        self._status: Json = {}
        self._heard = 0.0
        self._restarts = 0
        self._process: GuestProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Keep it alive from now on, in the background."""
        self._task = asyncio.create_task(self._stay_alive(), name=f"guest-{self.spec.name}")

    async def close(self) -> None:
        """End it; return when its process is gone."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._state = AppState.STOPPED

    def refuse(self, why: str) -> None:
        """Say why it is not started."""
        self._state = AppState.STOPPED
        self._note(why)

    def view(self) -> AppView:
        """Return how it is now."""
        state = self._state
        if state is AppState.RUNNING and _number(self._status, "busy_s") >= BLOCKED_S:
            state = AppState.BLOCKED
        return AppView(
            name=self.spec.name,
            kind="guest",
            source=self.spec.source,
            bridge=self.spec.bridge,
            state=state,
            last_error=self._last_error,
            restarts=self._restarts,
            queue_depth=int(_number(self._status, "queue_depth")),
            flows=self._counts.flows,
            dropped_packet_ins=self._counts.dropped_packet_ins,
            delayed_messages=self._counts.delayed_messages,
            pid=self._process.pid if self._process is not None else 0,
        )

    async def _stay_alive(self) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_RESTART_S
        while True:
            self._state = AppState.STARTING
            self._cause = ""
            begun = loop.time()
            try:
                why = await self._live()
            except OSError as error:
                why = f"its process cannot be started: {error}"
            why = self._cause or why
            self._note(why)
            self._state, self._status = AppState.WAITING, {}
            pause = FIRST_RESTART_S if loop.time() - begun >= HEALTHY_S else pause
            logger.error(
                "guest %s: %s; it is started again in %.1f s", self.spec.name, why, pause, extra=fields(**self._about())
            )
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._settings.restart_max_s)
            self._restarts += 1

    async def _live(self) -> str:
        """Start a process and serve it until it ends; return why it did. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        process = self._process = GuestProcess(self._argument(), on_message=self._take)
        if self._restarts:
            process.give_way(always=True)  # Until it is calm: one that dies at once is started often.
        tasks = [
            asyncio.create_task(work, name=f"guest-{self.spec.name}-{name}")
            for name, work in (
                ("switch", self._stay_connected(process)),
                ("news", self._tell(process)),
                ("look", self._look_after(process)),
            )
        ]
        try:
            return explain(await asyncio.shield(process.ended))
        finally:
            for task in (*tasks, *self._answering):
                task.cancel()
            await asyncio.wait(tasks)
            await process.stop()
            self._process = None

    def _argument(self) -> Json:
        config_file = self._settings.config_files.get(self.spec.name)
        return {
            "name": self.spec.name,
            "source": self.spec.source,
            "http": self._settings.http.get(self.spec.name, str(self._settings.run_dir / f"{self.spec.name}.sock")),
            "config_file": str(config_file) if config_file is not None else "",
            "memory_mb": self._settings.memory_mb,
        }

    async def _stay_connected(self, process: GuestProcess) -> None:
        """Give the guest a connection to its switch, and another whenever it is lost."""
        pause, longest = RECONNECT_S
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            while True:
                if self._management.is_socket():
                    ours, theirs = socket.socketpair()
                    ours.setblocking(False)
                    with theirs:
                        await process.channel.send({"switch": True}, (theirs.fileno(),))
                    try:
                        begun = asyncio.get_running_loop().time()
                        fence = self._fence()
                        why = await fence.run(ours, self._management)
                        if fence.refusal:
                            self._note(fence.refusal)
                    except OSError as error:
                        ours.close()
                        why = f"{self._management}: {error.strerror or error}"
                    logger.info("guest %s: %s", self.spec.name, why, extra=fields(**self._about()))
                    if asyncio.get_running_loop().time() - begun > longest:
                        pause = RECONNECT_S[0]
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)

    def _fence(self) -> Fence:
        if self._inside is None:
            return Fence(self.spec.name, self._limits, self._counts)
        return InnerFence(self._inside.place, self._limits, self._counts, world=self._inside.world)

    async def _tell(self, process: GuestProcess) -> None:
        """Tell the guest what happens, at its own pace."""
        with contextlib.suppress(OSError):
            async for news in self._news():
                await process.channel.send(news)

    async def _look_after(self, process: GuestProcess) -> None:
        """Kill a process that has too many threads, or whose runner has fallen silent; put a busy one last.

        A guest that spins would otherwise take its turns before a plug does: with a niceness of 10 alone the 99th
        percentile of PlugPort grew fourfold on two processors. What counts is what it wants: where it has to wait for a
        processor it does not get what makes it a nuisance to whoever else waits.
        """
        loop = asyncio.get_running_loop()
        begun = at = loop.time()
        used_s = wanted_s = 0.0
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            before, before_s, before_wanted_s = at, used_s, wanted_s
            at, used_s, wanted_s = loop.time(), process.cpu_s(), process.wanted_s()
            share = max(used_s - before_s, wanted_s - before_wanted_s) / (at - before)
            starting = self._state is AppState.STARTING and at - begun < START_S
            if not (starting or CALM <= share <= BUSY):
                process.give_way(always=share > BUSY)
            threads = process.threads()
            silent_s = loop.time() - self._heard
            if threads > self._settings.max_threads:
                self._end(process, f"it had {threads} threads, and may have {self._settings.max_threads}")
            elif silent_s > SILENT_S:
                self._end(process, f"it gave no sign of life for {silent_s:.0f} s")

    def _end(self, process: GuestProcess, why: str) -> None:
        self._cause = why
        process.kill()

    def _take(self, message: Json) -> None:
        """Take what the guest's runner says: nothing of it is believed to be well made, it is the guest's process."""
        self._heard = asyncio.get_running_loop().time()
        if isinstance(status := message.get("status"), dict):
            self._status = status
            if status.get("ready") and self._state is AppState.STARTING:
                self._state = AppState.RUNNING
            if isinstance(error := status.get("error"), str) and error:
                self._note(error)
            if isinstance(fatal := status.get("fatal"), str) and fatal:
                self._cause = fatal[:MAX_ERROR]
        elif isinstance(number := message.get("request"), int):
            task = asyncio.create_task(self._answer(number, message), name=f"guest-{self.spec.name}-request")
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, number: int, message: Json) -> None:
        process = self._process
        if process is None:
            return
        try:
            if len(self._answering) > MAX_REQUESTS:
                reply: Json = {"error": {"reason": "TOO_MANY_REQUESTS", "message": "too many requests are under way"}}
            else:
                reply = await self._requests(self.spec.name, message)
        except OfctlError as error:
            reply = {"error": {"code": error.code, "reason": error.reason, "message": error.message}}
        except Exception:
            logger.exception("a defect of ofctl ended a request of guest %s", self.spec.name)
            reply = {"error": {"code": "INTERNAL", "reason": "INTERNAL", "message": "a defect of ofctl, see its log"}}
        with contextlib.suppress(OSError):
            await process.channel.send({**reply, "reply": number})

    def _note(self, error: str) -> None:
        self._last_error = error[:MAX_ERROR]

    def _about(self) -> dict[str, Any]:
        return {"guest": self.spec.name, "bridge": self.spec.bridge}


def _number(status: Json, name: str) -> float:
    value = status.get(name)
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e9 else 0.0
