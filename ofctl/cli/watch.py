"""`ofctl port watch`: events as they come, one line each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from ofctl.cli.output import plain, short, state_of
from ofctl.v1.port_pb2 import WatchPortsResponse

Line = Callable[[WatchPortsResponse], str]


def as_json(event: WatchPortsResponse) -> str:
    """Return an event as one line of ProtoJSON."""
    return json.dumps(plain(event), ensure_ascii=False)


def as_text(event: WatchPortsResponse) -> str:
    """Return an event as one line for people."""
    kind = short(WatchPortsResponse.EventType.Name(event.type), "EVENT_TYPE")
    if not event.HasField("port"):
        return kind
    port = event.port
    columns = (kind, port.spec.port_id, port.spec.network_id, port.vif_details.device_name, state_of(port))
    return "  ".join(f"{text:{width}}" for text, width in zip(columns, (8, 36, 16, 15, 0), strict=True)).rstrip()


def write(line: str) -> None:
    """Print a line now: who reads a pipe must not wait for it to fill."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
