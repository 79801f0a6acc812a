"""JSON-RPC 2.0 over a WebSocket, in the names that `ryu.app.wsgi` had: a server of an application's methods, and a
client that calls those of whoever has connected. The protocol is tinyrpc's, as in Ryu.
"""

from __future__ import annotations

from typing import Any

from os_ken.lib import hub
from tinyrpc.client import RPCClient
from tinyrpc.dispatch import RPCDispatcher, public
from tinyrpc.exc import InvalidReplyError
from tinyrpc.protocols.jsonrpc import JSONRPCProtocol
from tinyrpc.server import RPCServer
from tinyrpc.transports import ClientTransport, ServerTransport

rpc_public = public
"""Marks a method that may be called."""
REPLY_TIMEOUT_S = 5.0


class WebSocketDisconnectedError(Exception):
    """The WebSocket is closed."""


class WebSocketServerTransport(ServerTransport):  # type: ignore[misc]
    """Requests that come over a WebSocket."""

    def __init__(self, ws: Any) -> None:
        self.ws = ws

    def receive_message(self) -> tuple[None, Any]:
        """Return the next request. Raises WebSocketDisconnectedError. Blocks."""
        message = self.ws.wait()
        if message is None:
            raise WebSocketDisconnectedError
        return None, message

    def send_reply(self, context: Any, reply: bytes | str) -> None:  # noqa: ARG002 - the parent's
        self.ws.send(_text(reply))


class WebSocketRPCServer(RPCServer):  # type: ignore[misc]
    """Answers calls of the methods of `rpc_callback` that are `rpc_public`."""

    def __init__(self, ws: Any, rpc_callback: object) -> None:
        dispatcher = RPCDispatcher()
        dispatcher.register_instance(rpc_callback)
        super().__init__(WebSocketServerTransport(ws), JSONRPCProtocol(), dispatcher)

    def serve_forever(self) -> None:
        """Serve until the WebSocket is closed."""
        try:
            super().serve_forever()
        except WebSocketDisconnectedError:
            return

    def _spawn(self, func: Any, *args: Any, **kwargs: Any) -> None:
        hub.spawn(func, *args, **kwargs)


class WebSocketClientTransport(ClientTransport):  # type: ignore[misc]
    """Requests that go out over a WebSocket; who reads it puts the replies into `queue`."""

    def __init__(self, ws: Any, queue: Any) -> None:
        self.ws = ws
        self.queue = queue

    def send_message(self, message: bytes | str, expect_reply: bool = True) -> Any:
        """Send a request; return its reply.

        Raises OSError when the WebSocket is closed, before the reply as well, and InvalidReplyError when none comes for
        five seconds: the caller is a handler of events, which must not wait for ever.
        """
        self.ws.send(_text(message))
        if not expect_reply:
            return None
        try:
            reply = self.queue.get(timeout=REPLY_TIMEOUT_S)
        except hub.QueueEmpty:
            raise InvalidReplyError(f"no reply for {REPLY_TIMEOUT_S:g} s") from None
        if reply is None:
            raise BrokenPipeError("the WebSocket is closed")
        return reply


class WebSocketRPCClient(RPCClient):  # type: ignore[misc]
    """Calls methods of who is at the other end; `get_proxy()` has them as its own."""

    def __init__(self, ws: Any) -> None:
        self.ws = ws
        self.queue = hub.Queue()
        super().__init__(JSONRPCProtocol(), WebSocketClientTransport(ws, self.queue))

    def serve_forever(self) -> None:
        """Take replies until the WebSocket is closed."""
        while (message := self.ws.wait()) is not None:
            self.queue.put(message)
        self.queue.put(None)


def _text(message: bytes | str) -> str:
    return message.decode() if isinstance(message, bytes) else str(message)
