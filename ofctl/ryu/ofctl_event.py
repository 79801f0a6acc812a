"""ofctl's events and requests for Ryu and os-ken applications.

    from ofctl.ryu import ofctl_event

    class App(app_manager.RyuApp):
        @set_ev_cls(ofctl_event.EventPortConfirmed)
        def confirmed(self, ev):
            self.logger.info("%s is on %s", ev.port_id, ev.device)

        def plug(self):
            reply = self.send_request(ofctl_event.EventPlugRequest({"port_id": "p9", "network_id": "n1", "vm": {}}))

At start an application gets EventPortConfirmed for every port that is confirmed then. Ports are dicts, as ProtoJSON has
the message ofctl.v1.Port, with the names of the contract (protos/ofctl/v1/port.proto).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from os_ken.base import app_manager
from os_ken.controller import event, handler

NAME = "ofctl_event"
"""Of the application that sends these events; os-ken finds it by the name of this module."""
DEFAULT_TIMEOUT_S = 30.0
ANSWER_MARGIN_S = 5.0

Message = dict[str, Any]


class _PortEvent(event.EventBase):  # type: ignore[misc]
    def __init__(self, port: Message, reason: str = "") -> None:
        super().__init__()
        self.port = port
        """The port, as in ofctl.v1.Port."""
        self.reason = reason

    @property
    def port_id(self) -> str:
        return str(self.port["spec"]["port_id"])

    @property
    def network_id(self) -> str:
        return str(self.port["spec"]["network_id"])

    @property
    def device(self) -> str:
        """Name of the device that is in the switch."""
        return str(self.port["vif_details"]["device_name"])


class EventPortConfirmed(_PortEvent):
    """The datapath of a port is confirmed; comes again with each new state or evidence of a confirmed port."""


class EventPortLost(_PortEvent):
    """A port that was confirmed is not any more; `reason` is the state's in the contract, or REMOVED."""


class EventHostReady(event.EventBase):  # type: ignore[misc]
    """The host became able to plug, or (`ready` false) unable."""

    def __init__(self, ready: bool) -> None:
        super().__init__()
        self.ready = ready


class EventPlugRequest(event.EventRequestBase):  # type: ignore[misc]
    """Ask for a plug; send_request returns an EventPlugReply when the port is confirmed, or when it is not to be.

    The port belongs to the principal `guest:NAME`.
    """

    def __init__(self, port: Mapping[str, Any], *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """`port` is an ofctl.v1.PortSpec as a dict; seconds from now."""
        super().__init__()
        self.dst = NAME
        self.message = {"plug": dict(port), "timeout_s": timeout_s}


class EventUnplugRequest(event.EventRequestBase):  # type: ignore[misc]
    """Ask for the removal of a port that this guest has plugged."""

    def __init__(self, port_id: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        super().__init__()
        self.dst = NAME
        self.message = {"unplug": port_id, "timeout_s": timeout_s}


class EventPlugReply(event.EventReplyBase):  # type: ignore[misc]
    """What became of a request: `port`, or `error` (a dict with code, reason and message)."""

    def __init__(self, dst: str, port: Message | None, error: Message | None) -> None:
        super().__init__(dst)
        self.port = port
        self.error = error


class OfctlEvents(app_manager.OSKenApp):  # type: ignore[misc]
    """Carries events and requests between the control channel and the applications of this process."""

    _EVENTS = [EventPortConfirmed, EventPortLost, EventHostReady]  # noqa: RUF012
    send: Callable[[Message], None] = staticmethod(lambda _: None)
    """To the agent; the runner sets it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name = NAME
        self._requests: dict[int, event.EventRequestBase] = {}
        self._number = 0
        self._lock = threading.Lock()

    def take(self, message: Message) -> None:
        """Take what the agent tells. Waits while an application has 128 events waiting for it."""
        if "reply" in message:
            with self._lock:
                request = self._requests.pop(message["reply"], None)
            if request is not None:
                self._reply(request, message.get("port"), message.get("error"))
        elif "host_ready" in message:
            self.send_event_to_observers(EventHostReady(bool(message["host_ready"])))
        elif message.get("confirmed"):
            self.send_event_to_observers(EventPortConfirmed(message["port"]))
        elif "port" in message:
            self.send_event_to_observers(EventPortLost(message["port"], str(message.get("reason", ""))))

    @handler.set_ev_cls([EventPlugRequest, EventUnplugRequest])  # type: ignore[untyped-decorator]
    def _request(self, request: Any) -> None:
        with self._lock:
            self._number += 1
            number = self._number
            self._requests[number] = request
        timer = threading.Timer(request.message["timeout_s"] + ANSWER_MARGIN_S, self._give_up, (number,))
        timer.daemon = True
        timer.start()
        type(self).send({"request": number, **request.message})

    def _give_up(self, number: int) -> None:
        with self._lock:
            request = self._requests.pop(number, None)
        if request is not None:
            error = {"code": "DEADLINE_EXCEEDED", "reason": "NO_ANSWER", "message": "the agent did not answer"}
            self._reply(request, None, error)

    def _reply(self, request: Any, port: Message | None, error: Message | None) -> None:
        self.reply_to_request(request, EventPlugReply(request.src, port, error))
