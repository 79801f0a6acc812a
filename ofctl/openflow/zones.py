"""Connection tracking zones by ovs-vswitchd's control socket: limits, and who is connected.

There is no OpenFlow for either in OVS 3.1 (ovs-vswitchd(8), "dpctl"). Limits are lost when ovs-vswitchd restarts, and
what was in a zone before its limit was set does not count against it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ofctl.errors import DeadlineExceeded, DriverError, SwitchUnavailable
from ofctl.openflow.conntrack import ICMP, ICMPV6, ConnectionTuple, Echo
from ofctl.openflow.unixctl import ControlClosed, ControlFailed, ControlSocket, control_path

MAX_LIMIT = (1 << 32) - 1

_LIMIT = re.compile(r"^zone=(\d+),limit=(\d+),count=(\d+)$", re.MULTILINE)
_CONNECTION = re.compile(
    r"^(?P<protocol>\w+),orig=\((?P<original>[^)]*)\),reply=\((?P<reply>[^)]*)\)(?P<rest>.*)$", re.MULTILINE
)
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132, "udplite": 136, "dccp": 33, "igmp": 2}


@dataclass(frozen=True, slots=True)
class ZoneLimit:
    """How many connections a zone may have, and how many of them it has that count."""

    limit: int
    count: int


@dataclass(frozen=True, slots=True)
class Connection:
    """An entry of the connection tracker. `state` is TCP's, such as ESTABLISHED, of the side that is behind."""

    zone: int
    original: ConnectionTuple
    reply: ConnectionTuple
    mark: int = 0
    state: str | None = None


class Zones:
    """The zones of the datapath of the ovs-vswitchd whose run directory this is.

    A connection to the control socket for each call; deadlines are instants of `loop.time()`. All raise
    SwitchUnavailable if ovs-vswitchd is not there, DeadlineExceeded, DriverError if it refuses.
    """

    def __init__(self, rundir: Path, *, datapath_type: str = "netdev") -> None:
        self.rundir = rundir
        self.datapath = f"{datapath_type}@ovs-{datapath_type}"

    async def set_limits(self, limits: Mapping[int, int], *, deadline: float) -> None:
        """Limit zones, all in one call; those that are not named keep their limit or have none."""
        for zone, limit in limits.items():
            if not (0 <= zone <= 0xFFFF and 0 <= limit <= MAX_LIMIT):
                raise ValueError(f"zone {zone}, limit {limit}: zones are 0 to 65535, limits 0 to {MAX_LIMIT}")
        if limits:
            listed = " ".join(f"zone={zone},limit={limit}" for zone, limit in limits.items())
            await self._run(f"dpctl/ct-set-limits {self.datapath} {listed}", deadline=deadline)

    async def limits(self, *, deadline: float) -> dict[int, ZoneLimit]:
        """Return the zones that have a limit of their own."""
        answer = await self._run(f"dpctl/ct-get-limits {self.datapath}", deadline=deadline)
        return {int(zone): ZoneLimit(int(limit), int(count)) for zone, limit, count in _LIMIT.findall(answer)}

    async def delete_limits(self, zones: Collection[int], *, deadline: float) -> None:
        """Take zones' limits away; those that have none are no error."""
        if zones:
            listed = ",".join(map(str, zones))
            await self._run(f"dpctl/ct-del-limits {self.datapath} zone={listed}", deadline=deadline)

    async def connections(self, zone: int, *, deadline: float) -> list[Connection]:
        """Return who is connected in a zone. Raises DriverError if that is more than 16 MiB of text, some 100,000."""
        answer = await self._run(f"dpctl/dump-conntrack {self.datapath} zone={zone}", deadline=deadline)
        return read_connections(answer)

    async def _run(self, command: str, *, deadline: float) -> str:
        what = command.split(maxsplit=1)[0]
        control: ControlSocket | None = None
        try:
            async with asyncio.timeout_at(deadline):
                control = await ControlSocket.connect(control_path(self.rundir))
                return (await control.run(command))[0]
        except TimeoutError:
            raise DeadlineExceeded(f"ovs-vswitchd did not answer {what} before the deadline") from None
        except (ControlClosed, OSError) as error:
            raise SwitchUnavailable(f"ovs-vswitchd is not available: {error}") from error
        except ControlFailed as error:
            raise DriverError(f"ovs-vswitchd refused {what}: {error}") from error
        finally:
            if control is not None:
                control.close()


def read_connections(text: str) -> list[Connection]:
    """Read what `dpctl/dump-conntrack` prints. Raises ValueError for what is no connection."""
    return [_connection(entry) for entry in _CONNECTION.finditer(text)]


def _connection(entry: re.Match[str]) -> Connection:
    name = entry["protocol"]
    protocol = int(name) if name.isdigit() else _PROTOCOLS[name]
    state = re.search(r"protoinfo=\(state=(\w+)", entry["rest"])
    return Connection(
        zone=_number(entry["rest"], "zone"),
        original=_tuple(protocol, entry["original"]),
        reply=_tuple(protocol, entry["reply"]),
        mark=_number(entry["rest"], "mark"),
        state=state[1] if state else None,
    )


def _number(text: str, name: str) -> int:
    found = re.search(rf",{name}=(\d+)", text)
    return int(found[1]) if found else 0


def _tuple(protocol: int, text: str) -> ConnectionTuple:
    parts = dict(part.split("=", 1) for part in text.split(","))
    source, destination = ip_address(parts["src"]), ip_address(parts["dst"])
    if protocol in (ICMP, ICMPV6):
        echo = Echo(int(parts["id"]), int(parts["type"]), int(parts["code"]))
        return ConnectionTuple(protocol, source, destination, echo=echo)
    return ConnectionTuple(protocol, source, destination, int(parts["sport"]), int(parts["dport"]))
