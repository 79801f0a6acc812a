"""The process of a guest: `python -m ofctl.ryu.runner DESCRIPTOR ARGUMENT`; the agent starts it.

DESCRIPTOR is the control channel (see `ofctl.guests.channel`), ARGUMENT a JSON object with `name`, `source`, `http`,
`config_file` and `memory_mb`. Bounds are set before anything of the guest is imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
NICENESS = 19
STATUS_INTERVAL_S = 0.5
CLOSE_TIMEOUT_S = 1.0
MAX_DESCRIPTORS = 4
MAX_MESSAGE = 128 * 1024
MAX_FILES = 1024
EXIT_FAILED = 1
PARENT_GONE = 3


def main() -> None:
    """Run the guest until the agent says stop, or is gone."""
    control = socket.socket(fileno=int(sys.argv[1]))
    argument = json.loads(sys.argv[2])
    _bound(int(argument["memory_mb"]))
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format=f"%(levelname)s guest={argument['name']} %(name)s: %(message)s"
    )
    try:
        Runner(control, argument).run()
    except BaseException as problem:  # noqa: BLE001 - the top of the process
        traceback.print_exc()
        _say(control, {"status": {"fatal": _last_line(problem)}})
        os._exit(EXIT_FAILED)


class Runner:
    """The guest and what it is connected to."""

    def __init__(self, control: socket.socket, argument: dict[str, Any]) -> None:
        self._control = control
        self._argument = argument
        self._error = ""
        self._ready = False
        self._busy: dict[str, float] = {}
        """Since when an application is in a handler, by its name."""
        self._apps: Any = None

    def run(self) -> None:
        """Load and start the guest, then do what the agent says. Does not return."""
        threading.Thread(target=self._report, name="status", daemon=True).start()
        logging.getLogger().addHandler(_LastError(self._note))
        self._start()
        self._ready = True
        self._say_status()
        while True:
            self._listen()

    def _start(self) -> None:
        from ofctl.ryu import alias, controller, threads, vsctl  # noqa: PLC0415 - after the bounds are set

        threads.install()
        alias.install()
        vsctl.install()
        controller.install()
        from os_ken import cfg, utils  # noqa: PLC0415
        from os_ken.base import app_manager  # noqa: PLC0415

        from ofctl.ryu import ofctl_event, wsgi  # noqa: PLC0415

        config_file = self._argument["config_file"]
        dependents = app_manager.get_dependent_services
        app_manager.get_dependent_services = lambda cls: [alias.canonical(name) for name in dependents(cls)]
        apps = self._apps = app_manager.AppManager.get_instance()
        ofctl_event.OfctlEvents.send = staticmethod(lambda message: _say(self._control, message))
        # os-ken's own takes a module for a file if the working directory has something of its name.
        utils.import_module = importlib.import_module
        source = _importable(str(self._argument["source"]))
        apps.load_apps(["os_ken.controller.ofp_handler", "ofctl.ryu.ofctl_event", alias.canonical(source)])
        if apps.applications_cls.get(alias.canonical(source)) is None:
            raise LookupError(f"{self._argument['source']} has no class that is a RyuApp or OSKenApp")
        cfg.CONF(
            args=[],
            project="os_ken",
            default_config_files=[config_file] if config_file else [],
            default_config_dirs=[],
        )
        contexts = apps.create_contexts()
        apps.instantiate_apps(**contexts)
        for app in apps.applications.values():
            self._watch(app)
        application = wsgi.start_service(apps)
        if application is not None:
            serve = wsgi.serve(application, str(self._argument["http"]))
            threading.Thread(target=serve, name="wsgi", daemon=True).start()

    def _watch(self, app: Any) -> None:
        """Note when the application takes an event, and when it comes for the next."""
        take = app.events.get

        def get(*arguments: Any, **options: Any) -> Any:
            self._busy.pop(app.name, None)
            taken = take(*arguments, **options)
            self._busy[app.name] = time.monotonic()
            return taken

        app.events.get = get

    def _listen(self) -> None:
        """Take one message of the agent; a connection to the switch may come with it."""
        from ofctl.ryu import controller, ofctl_event  # noqa: PLC0415

        text, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE, MAX_DESCRIPTORS)
        if not text:
            os._exit(PARENT_GONE)
        for descriptor in descriptors:
            controller.connections.put(socket.socket(fileno=descriptor))
        message = json.loads(text)
        if message.get("stop"):
            self._stop()
        elif not message.get("switch"):
            self._apps.applications[ofctl_event.NAME].take(message)

    def _stop(self) -> None:
        """Let the applications close what they have open, and end."""

        def close() -> None:
            for each in (*self._apps.applications.values(), *self._apps.contexts.values()):
                with contextlib.suppress(Exception):
                    each.close()

        closing = threading.Thread(target=close, name="close", daemon=True)
        closing.start()
        closing.join(CLOSE_TIMEOUT_S)
        os._exit(0)

    # What the agent is told

    def _note(self, error: str) -> None:
        self._error = error

    def _report(self) -> None:
        while True:
            time.sleep(STATUS_INTERVAL_S)
            self._say_status()

    def _say_status(self) -> None:
        error, self._error = self._error, ""
        applications = list(self._apps.applications.values()) if self._apps is not None else []
        now = time.monotonic()
        status = {
            "ready": self._ready,
            "queue_depth": max((app.events.qsize() for app in applications), default=0),
            "busy_s": max((now - since for since in list(self._busy.values())), default=0.0),
            "error": error,
        }
        _say(self._control, {"status": status})


class _LastError(logging.Handler):
    """Takes the last error that was logged; os-ken logs what handlers raise."""

    def __init__(self, note: Any) -> None:
        super().__init__(logging.ERROR)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            problem = record.exc_info[1] if record.exc_info else None
            self._note(_last_line(problem) if problem is not None else record.getMessage())


def _bound(memory_mb: int) -> None:
    """Die with the agent, run after it, and do not eat the machine (prctl(2), setrlimit(2), sched(7))."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(PARENT_GONE)
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_FILES, MAX_FILES))


def _importable(source: str) -> str:
    """Return the module's name; a file is found by the directory that it is in, and so are its neighbours."""
    if not source.endswith(".py"):
        return source
    from ofctl.ryu import alias  # noqa: PLC0415

    path = Path(source).resolve()
    alias.look_beside(path.parent)
    return path.stem


def _last_line(problem: BaseException) -> str:
    where = traceback.extract_tb(problem.__traceback__)
    at = f" ({Path(where[-1].filename).name}:{where[-1].lineno})" if where else ""
    return f"{type(problem).__name__}: {problem}{at}"


def _say(control: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        control.send(json.dumps(message).encode())


if __name__ == "__main__":
    main()
