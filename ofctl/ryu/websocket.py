"""WebSockets of guests (RFC 6455), as eventlet gave them to Ryu's applications: `wait` for a message, `send` one.

The protocol is that of the package `websockets`, without its servers: the connection is one that the server of
`ofctl.ryu.wsgi` has taken, and it is read by the thread that took it.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import DATA_OPCODES, CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Origin

CONNECTION = "ofctl.connection"
"""Where the environment of a request has the socket that it came over."""
PING_INTERVAL_S = 20.0
"""Without a word of the client before it is asked whether it is there; and then before it is given up."""
SEND_TIMEOUT_S = 2.0
"""For a client that does not read: the sender is an application's handler, which must not stand still."""
CLOSE_TIMEOUT_S = 1.0
"""For the client's part of the closing handshake (RFC 6455, 7.1.1); and the longest until a reader sees a close."""
CHUNK = 65536


class WebSocket:
    """One connection, until either side ends it.

    One thread calls `wait`; any may call `send` and `close`.
    """

    def __init__(self, connection: socket.socket, environ: Mapping[str, Any], protocol: ServerProtocol) -> None:
        """`protocol` is past the handshake."""
        self.socket = connection
        self.environ = environ
        self.path = str(environ.get("PATH_INFO", ""))
        self.origin = environ.get("HTTP_ORIGIN")
        self._protocol = protocol
        self._lock = threading.Lock()
        self._messages: deque[str | bytes] = deque()
        self._fragments: list[Frame] = []
        connection.settimeout(SEND_TIMEOUT_S)

    @property
    def websocket_closed(self) -> bool:
        return self._protocol.state is not OPEN

    def send(self, message: str | bytes) -> None:
        """Send a message: text, or bytes. Raises OSError when the connection is closed or its client does not read."""
        with self._lock:
            try:
                if isinstance(message, bytes):
                    self._protocol.send_binary(message)
                else:
                    self._protocol.send_text(str(message).encode())
            except InvalidState:
                raise BrokenPipeError("the WebSocket is closed") from None
            self._write()

    def wait(self) -> str | bytes | None:
        """Return the next message, or None once the connection is closed. Blocks; a client that is gone is noticed."""
        asked = False
        heard = time.monotonic()
        while not self._messages:
            if self.websocket_closed:
                return None
            if self._readable(CLOSE_TIMEOUT_S):
                asked, heard = False, time.monotonic()
                self._receive()
            elif time.monotonic() < heard + PING_INTERVAL_S:
                continue
            elif asked:
                self._end()
            else:
                asked, heard = True, time.monotonic()
                self._ping()
        return self._messages.popleft()

    def close(self, code: int = CloseCode.NORMAL_CLOSURE) -> None:
        """Say that it is over; who waits is woken when the client has heard it, or does not answer."""
        with self._lock:
            if self._protocol.state is OPEN:
                self._protocol.send_close(code)
                self._attempt_to_write()

    def linger(self) -> None:
        """End the connection when the client has closed it, too: before that, it would lose what it has not read.

        For the thread that reads, behind `close`. Blocks for CLOSE_TIMEOUT_S at most.
        """
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        while self._protocol.close_rcvd is None and not self._protocol.parser_exc:
            if not self._readable(deadline - time.monotonic()) or not self._receive():
                break
        self._end()

    def _readable(self, timeout_s: float) -> bool:
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_s) * 1000))

    def _ping(self) -> None:
        with self._lock:
            self._protocol.send_ping(b"")
            self._attempt_to_write()

    def _receive(self) -> bool:
        """Take what has come, and answer what the protocol answers by itself (pings, the end); False if nothing can."""
        try:
            received = self.socket.recv(CHUNK)
        except OSError:
            received = b""
        with self._lock:
            if received:
                self._protocol.receive_data(received)
            else:
                self._protocol.receive_eof()
            for event in self._protocol.events_received():
                if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
                    self._take(event)
            self._attempt_to_write()
        return bool(received)

    def _take(self, frame: Frame) -> None:
        self._fragments.append(frame)
        if frame.fin:
            message = b"".join(bytes(fragment.data) for fragment in self._fragments)
            text = self._fragments[0].opcode is Opcode.TEXT
            self._fragments = []
            self._messages.append(message.decode(errors="replace") if text else message)

    def _write(self) -> None:
        for chunk in self._protocol.data_to_send():
            if chunk:
                try:
                    self.socket.sendall(chunk)
                except OSError:
                    # Part of a frame may be out: nothing can follow it.
                    self._end()
                    raise
            else:
                self._end()

    def _attempt_to_write(self) -> None:
        try:
            self._write()
        except OSError:
            self._end()

    def _end(self) -> None:
        """Shut the connection, which wakes its reader; the server closes the descriptor."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


class WebSocketWSGI:
    """A WSGI application that is a WebSocket: `hub.WebSocketWSGI`."""

    def __init__(self, handler: Callable[[WebSocket], object]) -> None:
        """`handler` has the connection until it returns."""
        self.handler = handler

    def __call__(self, environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ARG002 - WSGI's
        """Shake hands, or say what is wrong with a request that is no handshake, and serve until the end.

        Never returns: raises ConnectionAbortedError, so that no response is written behind what is written here. For
        wsgiref, as for any server, that is a client that has left. (A response that refuses has headers of the
        connection, which no WSGI application may give to its server.)
        """
        host = environ.get("HTTP_HOST", "")
        # A browser connects any page to any address, and lets the page read: so only pages of this server are served.
        origins = [None, Origin(f"http://{host}"), Origin(f"https://{host}")]
        response = ServerProtocol(origins=origins).accept(_request(environ))
        connection: socket.socket = environ[CONNECTION]
        connection.sendall(response.serialize())
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            # Another one: the first would read the request from the connection.
            connected = WebSocket(connection, environ, ServerProtocol(state=OPEN))
            code = CloseCode.INTERNAL_ERROR
            try:
                self.handler(connected)
                code = CloseCode.NORMAL_CLOSURE
            finally:
                connected.close(code)
                connected.linger()
        raise ConnectionAbortedError("the WebSocket is closed")


def _request(environ: Mapping[str, Any]) -> Request:
    headers = Headers()
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            headers[name.removeprefix("HTTP_").replace("_", "-")] = value
    return Request(str(environ.get("PATH_INFO", "/")), headers, method=str(environ["REQUEST_METHOD"]))
