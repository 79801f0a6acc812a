"""Connection tracking zones by ovs-vswitchd's control socket: limits, and who is connected.

There is no OpenFlow for either in OVS 3.1 (ovs-vswitchd(8), "dpctl"). Limits are lost when ovs-vswitchd restarts, and
what was in a zone before its limit was set does not count against it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ofctl.errors import DeadlineExceeded, DriverError, SwitchUnavailable
from ofctl.openflow.conntrack import Address, ConnectionTuple, Echo
from ofctl.openflow.unixctl import ControlClosed, ControlFailed, ControlSocket, control_path

MAX_LIMIT = (1 << 32) - 1
AT_ONCE = 128
"""Connections that are read before others get their turn in the event loop: some 2 ms."""

_LIMIT = re.compile(r"^zone=(\d+),limit=(\d+),count=(\d+)$", re.MULTILINE)
_ENDS = r"\(src=([^,]+),dst=([^,]+),(?:sport=(\d+),dport=(\d+)|id=(\d+),type=(\d+),code=(\d+))\)"
_CONNECTION = re.compile(rf"^(\w+),orig={_ENDS},reply={_ENDS}(.*)$", re.MULTILINE)
_REST = re.compile(r"(?:,zone=(\d+))?(?:,mark=(\d+))?.*?(?:protoinfo=\(state=(\w+))?[^(]*$")
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
        connections = []
        for number, connection in enumerate(read_connections(answer), 1):
            connections.append(connection)
            if not number % AT_ONCE:
                await asyncio.sleep(0)
        return connections

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


def read_connections(text: str) -> Iterator[Connection]:
    """Yield what `dpctl/dump-conntrack` prints; what is no connection of a known form is passed over."""
    addresses: dict[str, Address] = {}
    for entry in _CONNECTION.finditer(text):
        name = entry[1]
        protocol = int(name) if name.isdigit() else _PROTOCOLS.get(name)
        rest = _REST.match(entry[16])
        if protocol is None or rest is None:
            continue
        groups = entry.groups()
        yield Connection(
            zone=int(rest[1] or 0),
            original=_tuple(protocol, groups[1:8], addresses),
            reply=_tuple(protocol, groups[8:15], addresses),
            mark=int(rest[2] or 0),
            state=rest[3],
        )


def _tuple(protocol: int, ends: Sequence[str | None], addresses: dict[str, Address]) -> ConnectionTuple:
    source, destination, sport, dport, identifier, kind, code = ends
    assert source is not None and destination is not None
    for address in (source, destination):
        if address not in addresses:
            addresses[address] = ip_address(address)
    both = (addresses[source], addresses[destination])
    if identifier is None:
        return ConnectionTuple(protocol, *both, int(sport or 0), int(dport or 0))
    return ConnectionTuple(protocol, *both, echo=Echo(int(identifier), int(kind or 0), int(code or 0)))
