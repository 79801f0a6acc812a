"""What `ryu.app.wsgi` was: REST interfaces of applications, on WebOb and Routes as in Ryu, and the standard library's
server in place of eventlet's.

It listens where the configuration of ofctl says ([guests] http): on a loopback address or a unix socket. WebSockets,
which Ryu had from eventlet, are in `ofctl.ryu.websocket`, JSON-RPC over them in `ofctl.ryu.rpc`.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import socket
import socketserver
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import webob
import webob.dec
import webob.exc
from os_ken import cfg
from routes import Mapper
from routes.util import URLGenerator

from ofctl.ryu.rpc import (
    WebSocketClientTransport,
    WebSocketDisconnectedError,
    WebSocketRPCClient,
    WebSocketRPCServer,
    WebSocketServerTransport,
    rpc_public,
)

__all__ = [
    "DIGIT_PATTERN",
    "HEX_PATTERN",
    "ControllerBase",
    "Request",
    "Response",
    "WSGIApplication",
    "WebSocketClientTransport",
    "WebSocketDisconnectedError",
    "WebSocketManager",
    "WebSocketRPCClient",
    "WebSocketRPCServer",
    "WebSocketRegistrationWrapper",
    "WebSocketServerTransport",
    "route",
    "rpc_public",
    "websocket",
]

logger = logging.getLogger(__name__)

CONF = cfg.CONF
CONF.register_cli_opts(
    [
        cfg.StrOpt("wsapi-host", default="127.0.0.1", help="What a guest may read; [guests] http decides."),
        cfg.IntOpt("wsapi-port", default=8080, help="What a guest may read; [guests] http decides."),
    ]
)
HEX_PATTERN = r"0x[0-9a-z]+"
DIGIT_PATTERN = r"[1-9][0-9]*"
REQUEST_TIMEOUT_S = 30.0

M = TypeVar("M", bound=Callable[..., Any])


def route(
    name: str, path: str, methods: list[str] | None = None, requirements: Mapping[str, str] | None = None
) -> Callable[[M], M]:
    """Make a method of a controller answer requests for `path` (in the notation of Routes)."""

    def mark(method: M) -> M:
        method.routing_info = {  # type: ignore[attr-defined]
            "name": name,
            "path": path,
            "methods": methods,
            "requirements": requirements,
        }
        return method

    return mark


def websocket(name: str, path: str) -> Callable[[M], Callable[..., Any]]:
    """Make a method of a controller serve the WebSockets at `path`; each is closed when the method returns."""

    def mark(method: M) -> Callable[..., Any]:
        @route(name, path)
        def serve(self: Any, req: Any, **_: Any) -> Any:  # noqa: ARG001
            # A fifth of a guest's start, and few have WebSockets.
            from ofctl.ryu.websocket import WebSocketWSGI  # noqa: PLC0415

            return WebSocketWSGI(WebSocketRegistrationWrapper(method, self))

        return serve

    return mark


class WebSocketRegistrationWrapper:
    """A controller's method, and its WebSocket is known to the application while it runs."""

    def __init__(self, func: Callable[..., Any], controller: Any) -> None:
        self._controller = controller
        self._method = func

    def __call__(self, ws: Any) -> None:
        """Serve `ws` until the method returns."""
        sockets: WebSocketManager = self._controller.parent.websocketmanager
        sockets.add_connection(ws)
        try:
            self._method(self._controller, ws)
        finally:
            sockets.delete_connection(ws)


class WebSocketManager:
    """The WebSockets that are open; the name is Ryu's."""

    def __init__(self) -> None:
        self._connections: list[Any] = []

    def add_connection(self, ws: Any) -> None:
        self._connections.append(ws)

    def delete_connection(self, ws: Any) -> None:
        self._connections.remove(ws)

    def broadcast(self, msg: str | bytes) -> None:
        """Send a message to each that takes it; one that has just been closed does not keep it from the others."""
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):
                connection.send(msg)


class Request(webob.Request):  # type: ignore[misc]
    """A request, in UTF-8."""

    def __init__(self, environ: Any, charset: str = "UTF-8", *args: Any, **kwargs: Any) -> None:
        super().__init__(environ, *args, charset=charset, **kwargs)


class Response(webob.Response):  # type: ignore[misc]
    """A response, in UTF-8."""

    def __init__(self, *args: Any, charset: str = "UTF-8", **kwargs: Any) -> None:
        super().__init__(*args, charset=charset, **kwargs)


class ControllerBase:
    """Made for each request; the method that the route names is called with the request and the path's variables."""

    special_vars: ClassVar[list[str]] = ["action", "controller"]

    def __init__(self, req: Any, link: Any, data: Any, **config: Any) -> None:
        self.req = req
        self.link = link
        self.data = data
        self.parent: WSGIApplication | None = None
        for name, value in config.items():
            setattr(self, name, value)

    def __call__(self, req: Any) -> Any:
        before = getattr(self, "__before__", None)
        if before is not None:
            before()
        variables = dict(self.req.urlvars)
        action = variables.get("action", "index")
        for name in self.special_vars:
            variables.pop(name, None)
        return getattr(self, action)(req, **variables)


class WSGIApplication:
    """The context `wsgi`: applications register their controllers here."""

    def __init__(self, **config: Any) -> None:
        self.config = config
        self.mapper = Mapper()
        self.registory: dict[str, Any] = {}  # Ryu's spelling.
        self.websocketmanager = WebSocketManager()

    @webob.dec.wsgify  # type: ignore[untyped-decorator]
    def __call__(self, req: Any) -> Any:
        match = self.mapper.match(environ=req.environ)
        if not match:
            return webob.exc.HTTPNotFound()
        req.urlvars = match
        controller_class = match["controller"]
        link = URLGenerator(self.mapper, req.environ)
        data = self.registory.get(controller_class.__name__)
        controller = controller_class(req, link, data, **self.config)
        controller.parent = self
        return controller(req)

    def register(self, controller: type, data: Any = None) -> None:
        """Take the routes of a controller's class; `data` is given to each of its instances."""
        for action, method in inspect.getmembers(controller, lambda each: hasattr(each, "routing_info")):
            info = method.routing_info
            self.mapper.connect(
                info["name"],
                info["path"],
                controller=controller,
                action=action,
                requirements=info["requirements"] or {},
                conditions={"method": info["methods"]} if info["methods"] else {},
            )
        if data:
            self.registory[controller.__name__] = data


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT_S

    def address_string(self) -> str:
        return str(self.client_address[0]) if self.client_address else "unix"

    def get_environ(self) -> dict[str, Any]:
        """Return the request's environment, with the connection for who makes a WebSocket of it."""
        return {**super().get_environ(), "ofctl.connection": self.connection}

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        logger.debug(format, *args)


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        logger.exception("a request failed")


class _UnixServer(_Server):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        path = Path(str(self.server_address))
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self.socket.bind(str(path))
        os.chmod(path, 0o660)
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()

    def get_request(self) -> tuple[Any, Any]:
        connection, _ = self.socket.accept()
        return connection, ("unix", 0)


def serve(application: WSGIApplication, where: str) -> Callable[[], None]:
    """Listen on ADDRESS:PORT or /PATH; return what serves requests for ever. Raises OSError."""
    if where.startswith("/"):
        server: WSGIServer = _UnixServer(where, _Handler)  # type: ignore[arg-type]
    else:
        host, _, port = where.rpartition(":")
        CONF.set_default("wsapi_host", host)
        CONF.set_default("wsapi_port", int(port))
        server = _Server((host.strip("[]"), int(port)), _Handler)
    server.set_app(application)
    return server.serve_forever


def start_service(app_mgr: Any) -> Any:
    """Return the context that is a WSGIApplication, or None. The runner serves it."""
    return next((each for each in app_mgr.contexts.values() if isinstance(each, WSGIApplication)), None)
