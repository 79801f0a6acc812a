"""WebSockets of guests, as Ryu's applications have them, with a client that is not ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, unix_connect

from tests.functional.guests.conftest import GuestLab, Start

TIMEOUT_S = 10.0
SOURCE = """
from tinyrpc.exc import InvalidReplyError
from ryu.app.wsgi import (
    ControllerBase, WSGIApplication, WebSocketRPCClient, WebSocketRPCServer, rpc_public, websocket)
from ryu.base import app_manager
from ryu.controller.handler import set_ev_cls
from ryu.topology import event, switches

class Watched(app_manager.RyuApp):
    _CONTEXTS = {"wsgi": WSGIApplication, "switches": switches.Switches}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.clients = []
        self.wsgi = kwargs["wsgi"]
        self.wsgi.register(Sockets, {"app": self})

    @set_ev_cls(event.EventSwitchEnter)
    def switch_is_there(self, ev):
        self.logger.info("CONNECTED")

    @set_ev_cls(event.EventPortAdd)
    def port_added(self, ev):
        self.wsgi.websocketmanager.broadcast("port %s" % ev.port.name.decode())
        for client in list(self.clients):
            try:
                self.logger.info("ANSWERED %s", client.get_proxy().port_added(ev.port.to_dict()))
            except (OSError, InvalidReplyError) as problem:
                self.logger.info("GONE %r", problem)
                self.clients.remove(client)

    @rpc_public
    def add(self, one, other):
        return one + other

    def hidden(self):
        return 0

class Sockets(ControllerBase):
    @websocket("echo", "/echo")
    def echo(self, ws):
        while True:
            message = ws.wait()
            if message is None:
                break
            ws.send(message)
            if message == "enough":
                break

    @websocket("raises", "/raises")
    def raises(self, ws):
        raise RuntimeError("on purpose")

    @websocket("calls", "/calls")
    def calls(self, ws):
        WebSocketRPCServer(ws, self.data["app"]).serve_forever()

    @websocket("called", "/called")
    def called(self, ws):
        client = WebSocketRPCClient(ws)
        self.data["app"].clients.append(client)
        ws.send("ready")
        client.serve_forever()
"""


def test_websockets_and_json_rpc(guests: Start, rundir: Path) -> None:
    lab = guests(sockets=SOURCE)
    lab.wait_for_log("CONNECTED")

    def connect(path: str, origin: str | None = None) -> ClientConnection:
        headers = {"Origin": origin} if origin else {}
        return unix_connect(
            str(rundir / "guests" / "sockets.sock"), uri=f"ws://localhost{path}", additional_headers=headers
        )

    _messages(connect("/echo", "http://localhost"))
    with pytest.raises(InvalidStatus, match="403"):
        connect("/echo", "http://elsewhere.example")
    with connect("/raises") as raises, pytest.raises(ConnectionClosed, match="1011"):
        raises.recv(timeout=TIMEOUT_S)
    _calls(connect("/calls"))
    _is_called(lab, connect)
    assert not lab.app("sockets").restarts


def _messages(echo: ClientConnection) -> None:
    """Text, bytes, large ones and fragments come back as they were; a ping is answered; the end is an orderly one."""
    with echo:
        for message in ("grüße", bytes(range(256)) * 1000, ""):
            echo.send(message)
            assert echo.recv(timeout=TIMEOUT_S) == message
        echo.send(["in ", "pieces"])
        assert echo.recv(timeout=TIMEOUT_S) == "in pieces"
        assert echo.ping().wait(TIMEOUT_S)
        echo.send("enough")
        assert echo.recv(timeout=TIMEOUT_S) == "enough"
        with pytest.raises(ConnectionClosed) as closed:
            echo.recv(timeout=TIMEOUT_S)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1000


def _calls(calls: ClientConnection) -> None:
    """A method that is public can be called, and no other."""
    with calls:
        for method, params, answer in (("add", [2, 3], 5), ("add", {"one": 4, "other": 5}, 9), ("hidden", [], None)):
            calls.send(json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
            reply = json.loads(calls.recv(timeout=TIMEOUT_S))
            assert reply["id"] == 7 and reply.get("result") == answer, reply
            assert ("error" in reply) == (answer is None)


def _is_called(lab: GuestLab, connect: object) -> None:
    """A guest calls who is connected, and notices who is not any more."""
    assert callable(connect)
    with connect("/called") as called, connect("/called") as gone:
        assert called.recv(timeout=TIMEOUT_S) == gone.recv(timeout=TIMEOUT_S) == "ready"
        gone.close()
        lab.host("br-sockets")
        assert called.recv(timeout=TIMEOUT_S) == "port h1"
        request = json.loads(called.recv(timeout=TIMEOUT_S))
        assert request["method"] == "port_added" and request["params"][0]["name"] == "h1"
        called.send(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": "thanks"}))
        lab.wait_for_log("ANSWERED thanks", "GONE BrokenPipeError")
