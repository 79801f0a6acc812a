"""A fenced guest's packet-outs: into the network of the port that they name, and on as any frame of that port. No I/O.

A frame that comes in through a port gets its network from the port. One that a guest injects has none, so it is told:
that of the port it names as in_port, or else of the port that it goes to. An uplink is of many networks; the one that
the guest means is that in which it was shown the frame, which is remembered for a while.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable

from ofctl.guests import matches
from ofctl.guests.actions import OUTPUT, Translator, clone, load, resubmit
from ofctl.guests.of13 import ANY, OFPP_ALL, OFPP_FLOOD, OFPP_IN_PORT, OFPP_TABLE, Kind, Refusal, message, need, pieces
from ofctl.pipeline.fence import FencedGuest
from ofctl.pipeline.tables import FENCE, FROM_OUTSIDE, NETWORK, SOURCE
from ofctl.pipeline.world import World

HEADER_BYTES = 24
MAX_SHOWN = 1024
MAX_FLOODED = 256
"""Networks that a frame from nowhere is flooded in."""
ADDRESSES = 12


class Whereabouts:
    """Which networks and ports there are, by port number. Made anew whenever the world is another one."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ports = {int(port.ofport): (int(port.network), int(port.index)) for port in world.ports.values()}
        self.uplinks: dict[int, list[int]] = {}
        for network in world.networks:
            uplink = world.uplink_of(network)
            if uplink is not None:
                self.uplinks.setdefault(int(uplink.ofport), []).append(int(network))


class PacketOuts:
    """Translates them. `world` returns what the switch forwards for at the moment."""

    def __init__(self, place: FencedGuest, translator: Translator, world: Callable[[], World]) -> None:
        self._place = place
        self._translator = translator
        self._world = world
        self._known = Whereabouts(world())
        self._shown: OrderedDict[tuple[int, bytes], int] = OrderedDict()
        """Network by uplink and the two addresses of a frame."""

    def show(self, octets: bytes, match_at: int, frame: bytes) -> None:
        """Take note of a packet-in, as the switch has sent it."""
        in_port = matches.field(octets, match_at, matches.OPENFLOW_BASIC, matches.IN_PORT)
        register = matches.field(octets, match_at, matches.NXM_1, NETWORK.register)
        if in_port is None or register is None or in_port not in self._whereabouts().uplinks:
            return
        key = in_port, frame[:ADDRESSES]
        self._shown[key] = (register & NETWORK.mask) >> NETWORK.start
        self._shown.move_to_end(key)
        if len(self._shown) > MAX_SHOWN:
            self._shown.popitem(last=False)

    def translated(self, octets: bytes, xid: int) -> bytes:
        """Return the packet-out for the switch. Raises Refused."""
        need(octets, HEADER_BYTES)
        buffer_id, in_port, length = struct.unpack_from("!IIH", octets, 8)
        need(octets, HEADER_BYTES + length)
        if buffer_id != ANY:
            raise Refusal.BUFFER_UNKNOWN.error()
        frame = octets[HEADER_BYTES + length :]
        networks, source = self._origin(in_port, frame)
        actions = [load(FENCE, self._place.mark), *([load(SOURCE, source)] if source else [])]
        if len(networks) == 1:
            actions.append(load(NETWORK, networks[0]))
            networks = []
        for kind, each in pieces(octets[HEADER_BYTES : HEADER_BYTES + length], 0, Refusal.BAD_ACTION_LEN):
            port = int.from_bytes(each[4:8], "big") if kind == OUTPUT else None
            if port == OFPP_TABLE:
                through = resubmit(self._place.first_table), resubmit(self._place.gate.number)
                actions.append(clone(*through))
            elif port in (OFPP_FLOOD, OFPP_ALL) and networks:
                action = self._translator.actions(each)
                actions += (part for network in networks for part in (load(NETWORK, network), action))
            elif port is not None and port != OFPP_IN_PORT and not source and port in self._whereabouts().ports:
                actions += (load(NETWORK, self._whereabouts().ports[port][0]), self._translator.actions(each))
            else:
                actions.append(self._translator.actions(each))
        listed = b"".join(actions)
        if len(listed) > 0xFFFF:
            raise Refusal.TOO_MANY_ACTIONS.error()
        return message(Kind.PACKET_OUT, xid, struct.pack("!IIH6x", buffer_id, in_port, len(listed)) + listed + frame)

    def _origin(self, in_port: int, frame: bytes) -> tuple[list[int], int]:
        """Return the networks that the frame may be in, and SOURCE; 0 if it comes from nowhere."""
        known = self._whereabouts()
        if in_port in known.ports:
            network, index = known.ports[in_port]
            return [network], index
        if in_port in known.uplinks:
            shown = self._shown.get((in_port, frame[:ADDRESSES]))
            there = known.uplinks[in_port]
            return ([shown] if shown in there else there[:MAX_FLOODED]), FROM_OUTSIDE
        return list(map(int, known.world.networks))[:MAX_FLOODED], 0

    def _whereabouts(self) -> Whereabouts:
        world = self._world()
        if world is not self._known.world:
            self._known = Whereabouts(world)
        return self._known
