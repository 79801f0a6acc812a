"""What can be asked of a bridge and changes nothing in its tables: dumps, ports, configuration, description."""

from __future__ import annotations

import asyncio
import enum
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ofctl.errors import DriverError
from ofctl.model.ids import DeviceName, OfPort
from ofctl.openflow import replies
from ofctl.openflow.channel import Channel, Exchange
from ofctl.openflow.connection import Connection
from ofctl.openflow.exchanges import ConnectionGone, MultipartExchange, SingleExchange
from ofctl.openflow.images import FlowImage, GroupImage
from ofctl.openflow.refusals import Refusal
from ofctl.openflow.replies import SwitchDescription
from ofctl.openflow.wire import message

DumpedFlow = FlowImage
Item = TypeVar("Item")
Answer = TypeVar("Answer")
OFPT_GET_CONFIG_REQUEST = 7
OFPT_GET_CONFIG_REPLY = 8
OFPT_SET_CONFIG = 9
OFPC_FRAG_MASK = 3
DEFAULT_MISS_SEND_LEN = 128
"""What OVS gives a client that asks for asynchronous messages. With 0 a management socket is told nothing."""


class Fragments(enum.IntEnum):
    """How a switch treats IP fragments (OpenFlow 1.5.1, 7.3.2, and ovs-ofctl(8), set-frags)."""

    NORMAL = 0
    """With ports and ICMP types of 0, the first fragment too."""
    DROP = 1
    REASSEMBLE = 2
    NX_MATCH = 3
    """The first fragment with what it has, the others with 0."""


@dataclass(frozen=True, slots=True)
class SwitchConfig:
    """What OFPT_SET_CONFIG sets: `fragments` for the bridge, `miss_send_len` in octets for this connection."""

    fragments: Fragments = Fragments.NX_MATCH
    """NORMAL, the switch's own choice, hides the ports and ICMP types of first fragments from the tables, too."""
    miss_send_len: int = DEFAULT_MISS_SEND_LEN


class _Asking(Exchange, Protocol[Answer]):
    request: bytes
    done: asyncio.Future[Answer]


class Inquiries(Connection):
    """The questions; `Switch` has the rest. Deadlines are instants of `loop.time()`, in seconds."""

    description: SwitchDescription | None = None
    """What the switch said of itself on the last connection; there when that one's first dump is."""

    async def dump_flows(
        self, *, deadline: float, cookie: int | None = None, table: int | None = None
    ) -> list[DumpedFlow]:
        """Return the flows with exactly this cookie, in this table; None means any. Raises SwitchUnavailable."""
        request = replies.flow_request(cookie, table)
        return await self._multipart(replies.OFPMP_FLOW_DESC, request, replies.flows, deadline=deadline)

    async def count_packets(self, *, deadline: float, table: int) -> list[replies.FlowCount]:
        """Return what the flows of one table have counted. Raises SwitchUnavailable."""
        request = replies.flow_request(None, table)
        return await self._multipart(replies.OFPMP_FLOW_DESC, request, replies.flow_counts, deadline=deadline)

    async def dump_groups(self, *, deadline: float, group_id: int | None = None) -> list[GroupImage]:
        """Return one group (or nothing if there is none), or all. Raises SwitchUnavailable."""
        request = replies.group_request(group_id)
        return await self._multipart(replies.OFPMP_GROUP_DESC, request, replies.groups, deadline=deadline)

    async def ports(self, *, deadline: float) -> dict[DeviceName, OfPort]:
        """Return the ports that the bridge has as OpenFlow sees them, OFPP_LOCAL included. Raises SwitchUnavailable."""
        request = replies.port_request()
        listed = await self._multipart(replies.OFPMP_PORT_DESC, request, replies.ports, deadline=deadline)
        return {DeviceName(name): OfPort(number) for name, number in listed}

    async def config(self, *, deadline: float) -> SwitchConfig:
        """Return the switch's present configuration; nobody tells when it changes. Raises SwitchUnavailable."""
        channel = self.require_channel()
        exchange = SingleExchange(channel.xids(1), OFPT_GET_CONFIG_REQUEST, OFPT_GET_CONFIG_REPLY)
        answer = await self._answer(channel, exchange, "did not tell its configuration", deadline=deadline)
        if isinstance(answer, Refusal):
            raise self.refused("to tell its configuration", answer)
        flags, miss_send_len = struct.unpack_from("!HH", answer)
        return SwitchConfig(Fragments(flags & OFPC_FRAG_MASK), miss_send_len)

    async def set_config(self, wanted: SwitchConfig, *, deadline: float) -> None:
        """Return when the switch says that it is configured so. Raises SwitchUnavailable, DriverError."""
        channel = self.require_channel()
        body = struct.pack("!HH", wanted.fragments, wanted.miss_send_len)
        channel.send(message(OFPT_SET_CONFIG, channel.xids(1), body))
        present = await self.config(deadline=deadline)
        if present != wanted:
            raise DriverError(f"bridge {self.bridge} was told {wanted} and has {present}", reason="CONFIG_NOT_TAKEN")

    def greet(self, channel: Channel) -> None:
        """Set fragments, before any bundle can come, and ask for the description; see `Connection.greet`."""
        wanted = SwitchConfig()
        body = struct.pack("!HH", wanted.fragments, wanted.miss_send_len)
        channel.send(message(OFPT_SET_CONFIG, channel.xids(1), body))
        exchange = MultipartExchange(channel.xids(1), replies.OFPMP_DESC, b"", replies.description)
        exchange.done.add_done_callback(lambda _: self._described(exchange))
        channel.begin(exchange, exchange.request)

    def _described(self, exchange: MultipartExchange[SwitchDescription]) -> None:
        if exchange.items:
            self.description = exchange.items[0]

    async def _multipart(
        self, kind: int, body: bytes, read: Callable[[bytes], Iterator[Item]], *, deadline: float
    ) -> list[Item]:
        channel = self.require_channel()
        exchange = MultipartExchange(channel.xids(1), kind, body, read)
        refused = await self._answer(channel, exchange, "did not answer a dump", deadline=deadline)
        if refused is not None:
            raise self.refused(f"multipart request {kind}", refused)
        return exchange.items

    async def _answer(self, channel: Channel, exchange: _Asking[Answer], failing: str, *, deadline: float) -> Answer:
        try:
            channel.begin(exchange, exchange.request)
            async with asyncio.timeout_at(deadline):
                return await exchange.done
        except TimeoutError:
            raise self.unavailable_because(f"{failing} before the deadline") from None
        except ConnectionGone:
            raise self.unavailable_because("disconnected") from None
        finally:
            channel.end(exchange)

    def refused(self, what: str, error: Refusal) -> DriverError:
        """Return the error for what the switch refused."""
        return DriverError(
            f"bridge {self.bridge} refused {what}: {error.name}",
            reason="SWITCH_REFUSED_DUMP",
            metadata={"of_error": error.name},
        )
