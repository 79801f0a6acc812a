"""THE declaration of the pipeline: every table, register slice, priority, cookie bit and group id.

Checked when imported: names and numbers are unique, every table lies in the stage it belongs to, no two register
slices share a bit, packets only move forward. `docs/pipeline.md` is generated from here.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from ofctl.model.ids import NetworkIndex, PortIndex
from ofctl.model.security import SecurityGroupIndex
from ofctl.pipeline.fields import RegisterSlice
from ofctl.pipeline.flow import MAX_BUCKETS, Cookie, GroupId, Table, Term

LAYOUT_VERSION = 2
"""Goes up when tables, registers or group ids change their meaning; part of every cookie."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A range of table numbers, both ends included. What is not built yet has its place already."""

    first: int
    last: int
    name: str
    purpose: str


STAGES = (
    Stage(0, 9, "classification", "which network and which port a frame comes from"),
    Stage(10, 19, "origin", "is the sender who it says it is: from outside, from a port"),
    Stage(20, 29, "anchor-from-port", "third-party apps, before connection tracking"),
    Stage(30, 48, "egress-security", "connection tracking and security groups, away from the port"),
    Stage(49, 99, "forwarding", "where to: one port, the ports of the network, outside"),
    Stage(
        100,
        119,
        "ingress-security",
        "connection tracking and security groups, to the port, and the rules of both directions",
    ),
    Stage(120, 129, "anchor-to-port", "third-party apps, when the destination is known"),
    Stage(190, 199, "delivery", "the only place that sends a frame out"),
    Stage(200, 229, "guests", "fenced guests (classic Ryu and os-ken apps): the fence, and their own tables"),
    Stage(230, 249, "learned", "dynamic tables: the switch writes the flows itself"),
    Stage(250, 253, "service", "not on the path of any frame"),
)

CLASSIFY = Table(0, "classify", "classification", "Port or tag to network; everything else is dropped.")
ORIGIN = Table(
    10, "origin", "provider", "Frames from outside: drop those with a plugged port's MAC, learn the others'."
)
SENDER = Table(12, "sender", "port_security", "Frames from a port: dropped unless their MAC address is one of its own.")
SENDER_PROTOCOL = Table(13, "sender-protocol", "port_security", "What a guest may send at all, by protocol.")
SENDER_NEIGHBOR = Table(
    14, "sender-neighbor", "port_security", "ARP and ND from a guest: which address they claim, and whether it is its."
)
SENDER_LINK = Table(15, "sender-link", "port_security", "ARP, RARP and ND from a guest: the MAC address inside.")
SENDER_ADDRESS = Table(16, "sender-address", "port_security", "IP from a guest: whether the source address is its.")
SENDER_IPV4 = Table(17, "sender-ipv4", "port_security", "CLAIM against the port's IPv4 addresses; sets OWN.")
SENDER_IPV6 = Table(18, "sender-ipv6", "port_security", "CLAIM against the port's IPv6 addresses; sets OWN.")
SENDER_VERDICT = Table(19, "sender-verdict", "port_security", "On if OWN is set, else drop.")
EGRESS_TRACK = Table(30, "egress-track", "security_group", "IP from a filtered port goes through its connection table.")
EGRESS_STATE = Table(31, "egress-state", "security_group", "From a filtered port: which rules judge it.")
EGRESS_VERDICT = Table(
    32, "egress-verdict", "security_group", "From a filtered port: on if a rule allowed it, else drop."
)
EGRESS_GATE = Table(33, "egress-gate", "security_group", "Fragments from a filtered port: on once all are allowed.")
FENCE_CHOICE = Table(49, "fence-choice", "fencing", "Where to, if a fenced guest has said so; else on.")
FORWARD = Table(50, "forward", "forwarding", "Known unicast to its port; reserved multicast is dropped.")
NEIGHBORS = Table(55, "neighbors", "arp_nd", "ARP requests and neighbor solicitations are told from all else.")
NEIGHBOR_TARGET = Table(56, "neighbor-target", "arp_nd", "Whose address is asked for; unknown: flood, or drop.")
NEIGHBOR_OWNER = Table(57, "neighbor-owner", "arp_nd", "The owner's own question goes on; another's is answered.")
NEIGHBOR_REPLY = Table(58, "neighbor-reply", "arp_nd", "The question becomes the answer and turns around.")
NEIGHBOR_OPTION = Table(59, "neighbor-option", "arp_nd", "The MAC address goes into a neighbor advertisement.")
FLOOD = Table(60, "flood", "flooding", "Broadcast and multicast to all ports of the network and to its uplink.")
UNKNOWN = Table(
    70, "unknown", "provider", "Unicast to no port of this host: outside if the network has one, else drop."
)
INGRESS_TRACK = Table(
    100, "ingress-track", "security_group", "IP to a filtered port goes through its connection table."
)
INGRESS_STATE = Table(101, "ingress-state", "security_group", "To a filtered port: which rules judge it.")
INGRESS_VERDICT = Table(
    102, "ingress-verdict", "security_group", "To a filtered port: on if a rule allowed it, else drop."
)
INGRESS_GATE = Table(103, "ingress-gate", "security_group", "Fragments to a filtered port: on once all are allowed.")
RULES_TRACKED = Table(
    110, "rules-tracked", "security_group", "Rules of stateful groups: the connection's first frame against them."
)
RULES_UNTRACKED = Table(111, "rules-untracked", "security_group", "Rules of stateless groups: each frame against them.")
DELIVER = Table(190, "deliver", "delivery", "DESTINATION to OpenFlow port, with the tag that the uplink needs.")
FENCE_FROM_PORT = Table(200, "fence-from-port", "fencing", "Fenced guests that see what ports send, in turn; then on.")
FENCE_TO_PORT = Table(201, "fence-to-port", "fencing", "Fenced guests that see what ports get, in turn; then on.")
FENCE_OUTPUT = Table(202, "fence-output", "fencing", "The port number that a fenced guest sends to, to DESTINATION.")
FENCE_ONWARD = Table(203, "fence-onward", "fencing", "Where a frame that a fenced guest sends enters the pipeline.")
FENCE_LABELS = Table(204, "fence-labels", "fencing", "Whose the guests' tables are; no frame comes by.", dynamic=True)
OUTSIDE = Table(230, "outside", "provider", "MAC addresses learned from uplinks, by network.", dynamic=True)
SCRATCH = Table(
    253, "scratch", "core", "A flow changed here makes the revalidators run; no frame comes by.", dynamic=True
)

TO_APP = Table(252, "to-app", "core", "Frames that third-party apps handle themselves go up to the agent.")

TABLES = (
    CLASSIFY,
    ORIGIN,
    SENDER,
    SENDER_PROTOCOL,
    SENDER_NEIGHBOR,
    SENDER_LINK,
    SENDER_ADDRESS,
    SENDER_IPV4,
    SENDER_IPV6,
    SENDER_VERDICT,
    EGRESS_TRACK,
    EGRESS_STATE,
    EGRESS_VERDICT,
    EGRESS_GATE,
    FENCE_CHOICE,
    FORWARD,
    NEIGHBORS,
    NEIGHBOR_TARGET,
    NEIGHBOR_OWNER,
    NEIGHBOR_REPLY,
    NEIGHBOR_OPTION,
    FLOOD,
    UNKNOWN,
    INGRESS_TRACK,
    INGRESS_STATE,
    INGRESS_VERDICT,
    INGRESS_GATE,
    RULES_TRACKED,
    RULES_UNTRACKED,
    DELIVER,
    FENCE_FROM_PORT,
    FENCE_TO_PORT,
    FENCE_OUTPUT,
    FENCE_ONWARD,
    FENCE_LABELS,
    OUTSIDE,
    TO_APP,
    SCRATCH,
)
GUEST_TABLES = range(205, 230)
"""The fenced guests' own: what is in there is theirs alone, so it is in no comparison, digest or audit."""

SOURCE_KNOWN = EGRESS_TRACK
"""First table after classification and origin. A stage that is built in between takes its place here."""
DESTINATION_KNOWN = INGRESS_TRACK
"""First table once DESTINATION is a port."""

PATHS = (
    (CLASSIFY, ORIGIN),
    (CLASSIFY, SENDER),
    (CLASSIFY, SOURCE_KNOWN),
    (ORIGIN, OUTSIDE),
    (ORIGIN, SOURCE_KNOWN),
    (SENDER, SENDER_PROTOCOL),
    (SENDER_PROTOCOL, SENDER_NEIGHBOR),
    (SENDER_PROTOCOL, SENDER_LINK),
    (SENDER_PROTOCOL, SENDER_ADDRESS),
    (SENDER_PROTOCOL, SOURCE_KNOWN),
    (SENDER_NEIGHBOR, SENDER_LINK),
    (SENDER_NEIGHBOR, SENDER_ADDRESS),
    (SENDER_NEIGHBOR, SENDER_IPV4),
    (SENDER_NEIGHBOR, SENDER_IPV6),
    (SENDER_NEIGHBOR, SOURCE_KNOWN),
    (SENDER_LINK, SENDER_ADDRESS),
    (SENDER_LINK, SENDER_VERDICT),
    (SENDER_LINK, SOURCE_KNOWN),
    (SENDER_ADDRESS, SENDER_IPV4),
    (SENDER_ADDRESS, SENDER_IPV6),
    (SENDER_ADDRESS, SENDER_VERDICT),
    (SENDER_ADDRESS, SOURCE_KNOWN),
    (SENDER_VERDICT, SOURCE_KNOWN),
    (EGRESS_TRACK, EGRESS_STATE),
    (EGRESS_TRACK, FORWARD),
    (EGRESS_STATE, RULES_TRACKED),
    (EGRESS_STATE, RULES_UNTRACKED),
    (EGRESS_STATE, EGRESS_VERDICT),
    (EGRESS_STATE, FORWARD),
    (EGRESS_VERDICT, EGRESS_GATE),
    (EGRESS_VERDICT, FORWARD),
    (EGRESS_GATE, FORWARD),
    (FORWARD, NEIGHBORS),
    (FORWARD, UNKNOWN),
    (FORWARD, DESTINATION_KNOWN),
    (NEIGHBORS, NEIGHBOR_TARGET),
    (NEIGHBORS, FLOOD),
    (NEIGHBOR_TARGET, NEIGHBOR_OWNER),
    (NEIGHBOR_TARGET, FLOOD),
    (NEIGHBOR_OWNER, NEIGHBOR_REPLY),
    (NEIGHBOR_OWNER, FLOOD),
    (NEIGHBOR_REPLY, NEIGHBOR_OPTION),
    (NEIGHBOR_REPLY, DELIVER),
    (NEIGHBOR_OPTION, DELIVER),
    (FLOOD, DESTINATION_KNOWN),
    (FLOOD, DELIVER),
    (UNKNOWN, OUTSIDE),
    (UNKNOWN, DELIVER),
    (INGRESS_TRACK, INGRESS_STATE),
    (INGRESS_TRACK, DELIVER),
    (INGRESS_STATE, RULES_TRACKED),
    (INGRESS_STATE, RULES_UNTRACKED),
    (INGRESS_STATE, INGRESS_VERDICT),
    (INGRESS_STATE, DELIVER),
    (INGRESS_VERDICT, INGRESS_GATE),
    (INGRESS_VERDICT, DELIVER),
    (INGRESS_GATE, DELIVER),
)
"""Every goto, resubmit, ct and learn that a flow may do; there is no other, but in the fence."""

FENCE_PATHS = (
    (FENCE_CHOICE, FORWARD),
    (FENCE_CHOICE, FLOOD),
    (FENCE_CHOICE, DESTINATION_KNOWN),
    (FENCE_OUTPUT, FENCE_ONWARD),
    (FENCE_FROM_PORT, SOURCE_KNOWN),
    (FENCE_TO_PORT, DELIVER),
    (FENCE_OUTPUT, FENCE_FROM_PORT),
    (FENCE_OUTPUT, FENCE_TO_PORT),
    (FENCE_ONWARD, FENCE_FROM_PORT),
    (FENCE_ONWARD, FLOOD),
    (FENCE_ONWARD, DESTINATION_KNOWN),
)
"""The ways in the fence and out of it, where guests are fenced: what led to SOURCE_KNOWN, FORWARD and DELIVER leads to
the tables of the fence instead. No frame goes round: FENCE only grows within an anchor, and what a guest has sent to a
port or to all (CHOSEN) meets the guests of the first anchor no more."""

NETWORK = RegisterSlice("NETWORK", 0, 0, 16)
SOURCE = RegisterSlice("SOURCE", 1, 0, 32)
DESTINATION = RegisterSlice("DESTINATION", 2, 0, 32)

OWNER = RegisterSlice("OWNER", 3, 0, 32)
PROBE = RegisterSlice("PROBE", 4, 0, 32)
GROUP = RegisterSlice("GROUP", 5, 0, 14)
TO_GUEST = RegisterSlice("TO_GUEST", 5, 14, 1)
ALLOWED = RegisterSlice("ALLOWED", 5, 15, 1)
ZONE = RegisterSlice("ZONE", 5, 16, 16)
OWN = RegisterSlice("OWN", 6, 0, 1)
CLAIM = RegisterSlice("CLAIM", 8, 0, 32)
CLAIM_1 = RegisterSlice("CLAIM_1", 9, 0, 32)
CLAIM_2 = RegisterSlice("CLAIM_2", 10, 0, 32)
CLAIM_3 = RegisterSlice("CLAIM_3", 11, 0, 32)
CLAIMS = (CLAIM, CLAIM_1, CLAIM_2, CLAIM_3)
"""An IPv6 address from its first octets to its last; as a whole it is XXREG2."""

FENCE = RegisterSlice("FENCE", 6, 8, 8)
CHOSEN = RegisterSlice("CHOSEN", 6, 16, 2)

HANDLER = RegisterSlice("HANDLER", 7, 0, 16)

REGISTERS = {
    NETWORK: "index of the network that the frame is in; 0: none",
    SOURCE: "index of the port that sent the frame, or FROM_OUTSIDE",
    DESTINATION: "index of the port to deliver to, or TO_OUTSIDE or TO_UNKNOWN; 0: not known yet",
    OWNER: "index of the port whose address is asked for; 0 again when the question goes on",
    PROBE: "0, and in a probe PROBE_BIT and a number; no frame that comes in through a port has it set",
    GROUP: "index of the security group whose rules are asked",
    TO_GUEST: "1: its ingress rules are asked, 0: its egress rules",
    ALLOWED: "1: a rule has said yes; 0 again when the frame goes on",
    ZONE: "connection table of the filtered port that is asked for; 0 again when the frame goes on",
    OWN: "1: the address in CLAIM is the sender's; 0 again when the frame goes on",
    CLAIM: "IPv4 address that a sender claims, or the first quarter of an IPv6 one; 0 again when the frame goes on",
    CLAIM_1: "second quarter",
    CLAIM_2: "third quarter",
    CLAIM_3: "fourth quarter",
    FENCE: "the fenced guest that had the frame last, with TO_PORT_FENCE if it stands there; or TAKEN; 0: none",
    CHOSEN: "where a fenced guest sends the frame: CHOSEN_PORT, CHOSEN_FLOOD; 0: it does not",
    HANDLER: "on the way to `to-app`: number of the app (bits 8 to 14) and the app's own tag (bits 0 to 7)",
}
REGISTER_SLICES = tuple(REGISTERS)

OUTSIDE_BIT = 1 << 24
"""Above every port index: the frame comes from or goes to the network's uplink. Which one that is, is a matter of
the network, so a learned flow is never wrong about it, even if a network's number is given to another network."""
FROM_OUTSIDE = OUTSIDE_BIT
TO_OUTSIDE = OUTSIDE_BIT
TO_UNKNOWN = OUTSIDE_BIT | 1
"""To the uplink too, but because nobody knows better."""

PROBE_BIT = 1 << 31
NO_PROBE = Term(PROBE, 0, PROBE_BIT)
IS_PROBE = Term(PROBE, PROBE_BIT, PROBE_BIT)
"""Every flow that sends a frame out, and every one that leaves something behind (learns, commits a connection), must
ask for NO_PROBE, and its table have another for IS_PROBE."""
PROBE_CONTROLLER = 0x0FC1
"""The controller id of ofctl's connection: what is sent to another, 0 above all, is not for it."""
APP_CONTROLLER = 0x0FC2
"""The controller id of the connection for frames that apps handle, which is another one: a flood of them delays no
commit and no probe."""
HANDLER_TAG_BITS = 8
MAX_HANDLERS = 127

TO_PORT_FENCE = 0x80
TAKEN = 0xFF
"""A guest has had the frame and said what becomes of it: nothing more does."""
CHOSEN_PORT, CHOSEN_FLOOD = 1, 2
FENCE_CONTROLLER = 0xFC00
"""Plus a guest's number: its controller id."""

MAX_PORT_INDEX = PortIndex(OUTSIDE_BIT - 1)
MAX_NETWORK_INDEX = NetworkIndex((1 << NETWORK.bits) - 1)


class Priority(enum.IntEnum):
    """The only priorities in use. Within a table, no two flows of one priority match the same frame."""

    MISS = 0
    BROAD = 100
    CLASS = 200
    PORT = 300
    FORBIDDEN = 400
    EXEMPT = 450
    PROBED = 500


PRIORITIES = {
    Priority.MISS: "what nothing else matches",
    Priority.BROAD: "a network as a whole, or a class of addresses",
    Priority.CLASS: "a class of frames within a broader one",
    Priority.PORT: "one port, by ofport, MAC address or DESTINATION; an uplink and a tag; a learned address",
    Priority.FORBIDDEN: "what is dropped whoever sends it",
    Priority.EXEMPT: "what passes whatever the rules of security groups say",
    Priority.PROBED: "for the time of a probe through a port's device: marks its frames",
}

COOKIE_MAGIC = 0x0FC1
COOKIE_MAGIC_SHIFT, COOKIE_VERSION_SHIFT, COOKIE_KIND_SHIFT = 48, 40, 32


class CookieKind(enum.IntEnum):
    """What a flow belongs to; the low 32 bits of the cookie are the index within the kind."""

    HOST = 1
    NETWORK = 2
    PORT = 3
    LEARNED = 4
    """Learned for a network: the limit of learn() counts by cookie."""
    PROBE = 5
    """Of a port, while a probe comes in through its device; gone when the probe is over."""
    SECURITY_GROUP = 6
    """The rules of a group; the index is the group's."""
    MEMBER = 7
    """Addresses that rules name; the index is that of their network, 0 for those of address groups."""
    MUTED = 0x10
    """Keeps a source that sends too much from an app's handler, for a while; bit 31 and bits 30 to 24 of the index are
    whether it is outside and the app's number, the others the index of the port or network."""


COOKIE_LAYOUT = (
    (63, 48, "owner", f"{COOKIE_MAGIC:#06x}, ofctl's mark"),
    (47, 40, "version", f"layout version of the pipeline, now {LAYOUT_VERSION}"),
    (39, 32, "kind", ", ".join(f"{kind.name} {kind.value:#x}" for kind in CookieKind)),
    (31, 0, "index", "0 for the host; network, port or group index"),
)


def cookie(kind: CookieKind, index: int = 0) -> Cookie:
    """Return the cookie of `kind` and `index` (0 to 2**32 - 1). Pure arithmetic, nothing is registered."""
    if not 0 <= index < 1 << COOKIE_KIND_SHIFT:
        raise ValueError(f"cookie index {index} does not fit in 32 bits")
    return Cookie(
        COOKIE_MAGIC << COOKIE_MAGIC_SHIFT | LAYOUT_VERSION << COOKIE_VERSION_SHIFT | kind << COOKIE_KIND_SHIFT | index
    )


def host_cookie() -> Cookie:
    """Return the cookie of the flows that every host has."""
    return cookie(CookieKind.HOST)


def network_cookie(index: NetworkIndex) -> Cookie:
    """Return the cookie of all flows of a network that are no port's."""
    return cookie(CookieKind.NETWORK, index)


def port_cookie(index: PortIndex) -> Cookie:
    """Return the cookie of all flows of a port, and of no other flow: a dump by it is O(1)."""
    return cookie(CookieKind.PORT, index)


def probe_cookie(index: PortIndex) -> Cookie:
    """Return the cookie of the flow that marks the probes which come in through a port's device."""
    return cookie(CookieKind.PROBE, index)


def security_group_cookie(index: SecurityGroupIndex) -> Cookie:
    """Return the cookie of the rules of a security group, and of no other flow."""
    return cookie(CookieKind.SECURITY_GROUP, index)


def member_cookie(index: NetworkIndex) -> Cookie:
    """Return the cookie of the addresses that rules name in a network, or with 0 in any."""
    return cookie(CookieKind.MEMBER, index)


def muted_cookie(handler: int, index: int, *, outside: bool) -> Cookie:
    """Return the cookie of the flow that mutes a port, or the outside of a network, for one app's handler."""
    return cookie(CookieKind.MUTED, outside << 31 | handler << 24 | index)


def learned_cookie(index: NetworkIndex) -> Cookie:
    """Return the cookie of the flows that the switch learns for a network."""
    return cookie(CookieKind.LEARNED, index)


def is_ours(value: int) -> bool:
    """Tell whether a cookie is ofctl's own, of any layout version. No fenced guest may use such a one."""
    return value >> COOKIE_MAGIC_SHIFT == COOKIE_MAGIC


def cookie_owner(value: int) -> tuple[CookieKind | None, int]:
    """Return kind and index of a cookie of ofctl's, of any layout version; no kind for somebody else's."""
    if value >> COOKIE_MAGIC_SHIFT != COOKIE_MAGIC:
        return None, 0
    try:
        return CookieKind(value >> COOKIE_KIND_SHIFT & 0xFF), value & (1 << COOKIE_KIND_SHIFT) - 1
    except ValueError:
        return None, 0


def is_learned(value: int) -> bool:
    """Tell whether a cookie is that of flows that the switch learned for ofctl, of any layout version."""
    return is_ours(value) and value >> COOKIE_KIND_SHIFT & 0xFF == CookieKind.LEARNED


class GroupKind(enum.IntEnum):
    """Top byte of a group id."""

    FLOOD = 0x01
    GUEST = 0xFE


GROUP_LAYOUT = (
    (31, 24, "kind", ", ".join(f"{kind.name} {kind.value:#x}" for kind in GroupKind)),
    (23, 8, "network", "network index (flood); a fenced guest's number and its own id (guest)"),
    (7, 0, "shard", f"slot of the port divided by {MAX_BUCKETS} (flood); its own id, too (guest)"),
)
MAX_SHARDS = 8
"""4,000 ports of one network on one host. A copy costs a resubmit, and at 4,096 of them the switch gives up and drops
the frame for everybody (ovs-actions(7), resubmit; with 4,095 ports "Too many resubmits" was seen on OVS 3.1)."""


def flood_group_id(network: NetworkIndex, shard: int) -> GroupId:
    """Return the id of one flood group of a network; `shard` is 0 to MAX_SHARDS - 1."""
    if not (0 < network <= MAX_NETWORK_INDEX and 0 <= shard < MAX_SHARDS):
        raise ValueError(f"no flood group has network {network}, shard {shard}")
    return GroupId(GroupKind.FLOOD << 24 | network << 8 | shard)


def is_guest_group(group_id: int) -> bool:
    """Tell whether a group id is in the range of fenced guests (`ofctl.pipeline.fence`)."""
    return group_id >> 24 == GroupKind.GUEST


def stage_of(table: Table) -> Stage:
    """Return the stage that the table's number lies in; raises ValueError if there is none."""
    for stage in STAGES:
        if stage.first <= table.number <= stage.last:
            return stage
    raise ValueError(f"table {table.number} ({table.name}) lies in no stage")


def check_declaration(
    tables: Iterable[Table], slices: Iterable[RegisterSlice], paths: Iterable[tuple[Table, Table]]
) -> None:
    """Raise ValueError at the first thing that a declaration has wrong. For third-party apps' tables too."""
    tables = tuple(tables)
    for what, values in (
        ("number", [str(table.number) for table in tables]),
        ("name", [table.name for table in tables]),
    ):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"two tables have the {what} {twice[0]}")
    for table in tables:
        stage_of(table)
        if not table.owner or not table.purpose:
            raise ValueError(f"table {table.name} has no owner or no purpose")
    taken: dict[int, int] = {}
    for field in slices:
        if taken.get(field.register, 0) & field.mask:
            raise ValueError(f"register slice {field.name} overlaps another one in reg{field.register}")
        taken[field.register] = taken.get(field.register, 0) | field.mask
    for start, end in paths:
        if start not in tables or end not in tables:
            raise ValueError(f"path {start} to {end} uses a table that is not declared")
        if end.number <= start.number:
            raise ValueError(f"path {start} to {end} leads back")


def _check_stages() -> None:
    for earlier, later in itertools.pairwise(STAGES):
        if not earlier.first <= earlier.last < later.first <= later.last <= 253:
            raise ValueError(f"stages {earlier.name} and {later.name} overlap")


_check_stages()
check_declaration(TABLES, REGISTER_SLICES, PATHS)
