"""The agent, the composition root: configuration to wired objects, to a process that serves until told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from ofctl import __version__
from ofctl.api.server import ApiServer
from ofctl.apps.loading import load_apps
from ofctl.config import load
from ofctl.engine.dropping import Limits
from ofctl.engine.startup import Host, HostOptions
from ofctl.errors import ConfigError, DriverError, OfctlError
from ofctl.guests.guests import Guests
from ofctl.log import configure, fields
from ofctl.model.vif import DatapathType
from ofctl.notify import ServiceManager
from ofctl.pipeline.fence import FencedGuest, place_guests
from ofctl.settings import Settings
from ofctl.status import StatusLine

logger = logging.getLogger(__name__)

EXIT_REFUSED = 2
"""The configuration or the state of the host must be changed first."""
EXIT_UNAVAILABLE = 3
"""Something that the agent needs does not answer: starting it again may help."""
STOP_GRACE_S = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent until SIGTERM or SIGINT; return the exit status. Logs go to standard error."""
    try:
        settings = load(sys.argv[1:] if argv is None else argv)
    except OfctlError as error:
        print(f"ofctl-agent: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return EXIT_REFUSED
    configure(log_format=settings.agent.log_format, level=settings.agent.log_level)
    try:
        check_nothing_is_patched()
        asyncio.run(_serve(settings))
    except OfctlError as error:
        logger.error("cannot serve: %s", error, extra=fields(reason=error.reason))
        return EXIT_UNAVAILABLE if error.retryable else EXIT_REFUSED
    return 0


def check_nothing_is_patched() -> None:
    """Raise DriverError if a library has put green threads in the place of the standard library.

    os-ken and python-ovs import eventlet where it is installed; that is harmless as long as nobody patches: a patched
    `select` or `threading` would freeze gRPC and the database threads.
    """
    patcher = sys.modules.get("eventlet.patcher")
    patched = sorted(getattr(patcher, "already_patched", {})) if patcher is not None else []
    if patched:
        raise DriverError(f"eventlet has patched {', '.join(patched)}; unset what asks for it", reason="MONKEY_PATCHED")
    hub = sys.modules.get("os_ken.lib.hub")
    if hub is not None and hub.HUB_TYPE != "native":
        raise DriverError("os-ken runs on the eventlet hub; unset OSKEN_HUB_TYPE", reason="MONKEY_PATCHED")


def host_options(settings: Settings) -> HostOptions:
    """Return what the engine is to know of the configuration. Raises AppRefused."""
    agent, ovsdb, openflow, database = settings.agent, settings.ovsdb, settings.openflow, settings.database
    apps = load_apps(settings.apps.classes, settings.app_options)
    return HostOptions(
        host_id=agent.host_id,
        bridge=agent.bridge,
        datapath_type=None if ovsdb.datapath_type == "auto" else DatapathType(ovsdb.datapath_type),
        physical_networks=agent.physical_networks,
        device_prefix=agent.device_prefix,
        max_ports=agent.max_ports,
        max_connections_per_port=agent.max_connections_per_port,
        switch_connection=ovsdb.connection,
        rundir=ovsdb.rundir,
        intents_connection=database.connection,
        max_requests=database.max_requests,
        start_timeout_s=max(ovsdb.timeout_s, database.timeout_s, openflow.timeout_s) * 3,
        echo_interval_s=openflow.echo_interval_s,
        reconnect_max_s=openflow.reconnect_max_s,
        switch_timeout_s=openflow.timeout_s,
        apps=apps.features,
        fenced=_fenced(settings),
        binders=apps.binders,
        bind_timeout_s=settings.apps.bind_timeout_s,
        packet_in_limits=Limits(settings.apps.packet_in_port_rate, settings.apps.packet_in_rate),
    )


def _fenced(settings: Settings) -> tuple[FencedGuest, ...]:
    try:
        return place_guests([(guest.name, guest.fence) for guest in settings.guests.run if guest.fence])
    except ValueError as error:
        raise ConfigError(f"[apps] load: {error}; give the others bridges of their own", subject="apps.load") from None


async def _serve(settings: Settings) -> None:
    """Serve until told to stop. READY goes out when the last port that can be restored is confirmed and we listen."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    manager = ServiceManager()
    manager.start_watchdog()
    api: ApiServer | None = None
    guests: Guests | None = None
    line: StatusLine | None = None
    following: asyncio.Task[None] | None = None

    def ready_changed(ready: bool) -> None:
        if api is not None:
            api.set_serving(ready)
        if guests is not None:
            guests.host_ready(ready)
        if line is not None:
            manager.status(line.text)

    host = Host(host_options(settings), on_ready=ready_changed)
    try:
        if not await _finished(host.start(), stop):
            return
        api = ApiServer(
            host.engine,
            settings.grpc,
            admin_uids=settings.agent.admin_uids,
            default_timeout_s=settings.agent.plug_timeout_s,
        )
        await api.start()
        api.set_serving(not host.engine.host().not_ready)
        line = StatusLine(host.engine)
        manager.ready(line.text)
        following = asyncio.create_task(line.follow(manager.status), name="ofctl-status")
        logger.info("serving", extra=fields(version=__version__, host=host.engine.host_id, status=line.text))
        guests = Guests(host, settings.guests)
        guests.host_ready(not host.engine.host().not_ready)
        await guests.start(deadline=asyncio.get_running_loop().time() + host.options.start_timeout_s)
        await stop.wait()
        logger.info("stopping; the switch goes on forwarding")
    finally:
        manager.stopping()
        if guests is not None:
            await guests.close()
        if following is not None:
            following.cancel()
        if api is not None:
            await api.stop(STOP_GRACE_S)
        await host.close()
        manager.close()


async def _finished(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Return whether `work` came to its end before `stop` was set, which cancels it. Raises what it raises."""
    doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
            return True
        doing.cancel()
        await asyncio.wait((doing,))
        return False
    finally:
        stopping.cancel()
