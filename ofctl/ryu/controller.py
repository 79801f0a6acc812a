"""os-ken's controller without a listening socket: each connection is a descriptor that the agent sends."""

from __future__ import annotations

import contextlib
import queue
import socket
from typing import Any

import os_ken.base.app_manager  # noqa: F401 - os-ken imports in a circle, and only this end of it may be first
from os_ken.controller import controller, ofp_handler
from os_ken.lib import hub

connections: queue.Queue[socket.socket] = queue.Queue()
"""Those that no Datapath serves yet."""
ADDRESS = ("127.0.0.1", 0)
"""What `Datapath.address` says: the switch is on this host. Some applications look for its database there."""


class SwitchSocket(socket.socket):
    """One end of a unix socket pair, on which os-ken may set options of TCP."""

    def setsockopt(self, level: int, *arguments: Any) -> None:
        """Set an option; one of TCP has no meaning here."""
        if level != socket.IPPROTO_TCP:
            super().setsockopt(level, *arguments)


class InheritedController:
    """In the place of `os_ken.controller.controller.OpenFlowController`."""

    def __call__(self) -> None:
        while True:
            hub.spawn(serve, connections.get())

    def spawn_client_loop(self, addr: object, interval: object = None) -> None:
        """Refuse: the guest's switch is the one that the agent gives to it."""
        raise NotImplementedError("a guest of ofctl has the bridge of its configuration, and no other switch")

    stop_client_loop = spawn_client_loop


def install() -> None:
    """Let os-ken's handler of OpenFlow use this controller."""
    ofp_handler.OpenFlowController = InheritedController


def serve(connection: socket.socket) -> None:
    """Serve one connection from its hello to its end, and tell the applications of its end.

    os-ken joins a sending thread that waits for what to send, for ever (Datapath.serve); so that thread is given
    something once the switch is gone.
    """
    with contextlib.closing(GuestDatapath(SwitchSocket(fileno=connection.detach()), ADDRESS)) as datapath:
        datapath.serve()


class GuestDatapath(controller.Datapath):  # type: ignore[misc]
    """A Datapath that dies when its connection does."""

    def _recv_loop(self) -> None:
        try:
            super()._recv_loop()
        finally:
            waiting = self.send_q
            self.set_state(controller.DEAD_DISPATCHER)
            if waiting is not None and self._send_q_sem.acquire(blocking=False):
                waiting.put((b"", True))
