"""What the confirmed rules let through, said anew and in short: the storm's own judgement, no line of the engine's.

Each client has a security group, a group and an address group that its rules name, and ports of its own. So nobody but
itself and the faults changes what its ports may do, and it knows what must be true when a call has returned.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from ofctl.client import AddressGroup, AddressPair, GroupMember, PortSpec, SecurityGroup, VmConsumer, rule

NETWORK = "chaos"
SINK, GUARD = "sink", "guard"
"""The neighbours that listen: one without groups, and one that lets in members of TRUSTED at one port."""
TRUSTED = {True: "trusted", False: "trusted-stateless"}
"""By whether the groups are stateful."""
MACS = {SINK: "02:00:00:00:00:01", GUARD: "02:00:00:00:00:02"}
ADDRESSES = {(SINK, 4): "10.9.0.1", (SINK, 6): "fd09::1", (GUARD, 4): "10.9.0.2", (GUARD, 6): "fd09::2"}
GUARDED = 7000
SERVICES = (5000, 5001, GUARDED)
ELSEWHERE = {4: "10.99.0.0/16", 6: "fd99::/64"}
OPEN_SOURCE, ANSWERING = 2000, 1000
"""UDP source ports of what guests send by themselves, and of what the sink sends to them."""


@dataclass(frozen=True)
class Allowed:
    """A rule: `remote` is any, sink, elsewhere, group or addresses."""

    inward: bool
    version: int
    service: int
    remote: str


@dataclass(frozen=True)
class Policy:
    """The groups of one client, all of them."""

    number: int
    stateful: bool
    rules: frozenset[Allowed] = frozenset()
    members: frozenset[str] = frozenset()
    """Addresses in the group that rules name."""
    prefixes: frozenset[str] = frozenset()
    """Addresses in the address group."""

    @property
    def names(self) -> tuple[str, str, str]:
        """The ids of the group with the rules, of the group and of the address group that they name."""
        return f"g{self.number}", f"m{self.number}", f"a{self.number}"

    def security_group(self) -> SecurityGroup:
        """Return the group with the rules."""
        name, members, prefixes = self.names
        remotes = {"any": "", "group": f"group {members}", "addresses": f"address-group {prefixes}"}
        lines = []
        for each in self.rules:
            far = {**remotes, "sink": ADDRESSES[SINK, each.version], "elsewhere": ELSEWHERE[each.version]}[each.remote]
            way = ("from" if each.inward else "to") if far else ""
            direction = "in" if each.inward else "out"
            lines.append(rule(f"{direction} ipv{each.version} udp {each.service} {way} {far}"))
        return SecurityGroup(security_group_id=name, stateful=self.stateful, rules=lines)

    def member_group(self) -> SecurityGroup:
        """Return the group that rules name."""
        members = [GroupMember(network_id=NETWORK, address=address) for address in sorted(self.members)]
        return SecurityGroup(security_group_id=self.names[1], stateful=self.stateful, members=members)

    def address_group(self) -> AddressGroup:
        """Return the address group that rules name."""
        return AddressGroup(address_group_id=self.names[2], addresses=sorted(self.prefixes))

    def names_remote(self, kind: str) -> bool:
        """Tell whether a rule names the group, or the addresses."""
        return any(each.remote == kind for each in self.rules)

    def allows(self, *, inward: bool, version: int, service: int, neighbor: str) -> bool:
        """Tell whether a connection is allowed by the rules of a port that has this group."""
        if not inward and not any(not each.inward for each in self.rules):
            return True
        address = ADDRESSES[neighbor, version]
        remotes = {
            "any": True,
            "sink": neighbor == SINK,
            "elsewhere": False,
            "group": address in self.members,
            "addresses": address in self.prefixes,
        }
        return any(
            (each.inward, each.version, each.service) == (inward, version, service) and remotes[each.remote]
            for each in self.rules
        )

    def changed(self, dice: random.Random) -> tuple[Policy, str]:
        """Return another policy, one of whose groups is different, and which: rules, members or prefixes."""
        which = dice.choice(("rules", "rules", "members", "prefixes"))
        if which == "rules":
            return replace(self, rules=some_rules(dice)), which
        values = frozenset(address for address in ADDRESSES.values() if dice.random() < 0.5)
        return (replace(self, members=values) if which == "members" else replace(self, prefixes=values)), which


def some_rules(dice: random.Random) -> frozenset[Allowed]:
    """Return a few rules; half of the time none that is about what leaves."""
    ways = (True, False) if dice.random() < 0.5 else (True,)
    remotes = ("any", "sink", "elsewhere", "group", "addresses")
    return frozenset(
        Allowed(dice.choice(ways), dice.choice((4, 6)), dice.choice(SERVICES), dice.choice(remotes))
        for _ in range(dice.randrange(1, 9))
    )


@dataclass(frozen=True)
class Guest:
    """A port as its client wants it."""

    number: int
    secured: bool | None = None
    more: bool = False
    """Has a second fixed address of each family."""
    paired: bool = False
    """Has an allowed address pair of each family."""
    filtered: bool = False
    """Has its client's group."""
    trusted: bool = False
    """Has the group that the guard lets in."""
    mac: str = field(default="", compare=False)
    device: str = field(default="", compare=False)

    @property
    def port_id(self) -> str:
        """The id of the port."""
        return f"p{self.number}"

    def address(self, version: int, kind: str = "fixed") -> str:
        """Return an address that nobody else has: fixed, more, pair, or one that is not the port's."""
        high, low = divmod(self.number + 256, 256)
        if version == 4:
            base = {"fixed": (9, 0), "more": (9, 128), "pair": (10, 0), "forged": (10, 128)}[kind]
            return f"10.{base[0]}.{base[1] + high}.{low}"
        prefix = {"fixed": "fd09::1", "more": "fd09::2", "pair": "fd0a::1", "forged": "fd0a::2"}[kind]
        return f"{prefix}:{self.number + 256:x}"

    def owns(self, kind: str) -> bool:
        """Tell whether an address of this kind is the port's."""
        return {"fixed": True, "more": self.more, "pair": self.paired, "forged": False}[kind]

    def spec(self, policy: Policy) -> PortSpec:
        """Return what to plug, or to update to."""
        kinds = ("fixed", "more") if self.more else ("fixed",)
        pairs = [AddressPair(address=self.address(version, "pair")) for version in (4, 6) if self.paired]
        return PortSpec(
            port_id=self.port_id,
            network_id=NETWORK,
            vm=VmConsumer(),
            fixed_ips=[self.address(version, kind) for kind in kinds for version in (4, 6)],
            allowed_address_pairs=pairs,
            port_security=self.secured,
            security_groups=self.groups(policy),
        )

    def groups(self, policy: Policy) -> list[str]:
        """Return the ids of the port's groups."""
        return [policy.names[0]] * self.filtered + [TRUSTED[policy.stateful]] * self.trusted

    def changed(self, dice: random.Random) -> tuple[Guest, list[str]]:
        """Return the guest otherwise, and the fields of its spec that are to be updated."""
        field_of = {
            "secured": "port_security",
            "more": "fixed_ips",
            "paired": "allowed_address_pairs",
            "filtered": "security_groups",
            "trusted": "security_groups",
        }
        chosen = dice.sample(sorted(field_of), dice.choice((1, 1, 2)))
        values: dict[str, Any] = {name: not getattr(self, name) for name in chosen}
        if "secured" in values:
            values["secured"] = dice.choice([each for each in (None, True, False) if each != self.secured])
        return replace(self, **values), sorted({field_of[name] for name in chosen})

    def may_send(self, policy: Policy, version: int, kind: str, neighbor: str, service: int) -> bool:
        """Tell whether a datagram from one of the addresses arrives at a neighbour."""
        if self.secured is False or self.owns(kind):
            sent = not (self.filtered or self.trusted) or self._let_out(policy, version, neighbor, service)
            return sent and (neighbor == SINK or (service == GUARDED and self.trusted and self.owns(kind)))
        return False

    def _let_out(self, policy: Policy, version: int, neighbor: str, service: int) -> bool:
        # The trusted groups have no rules: with them alone everything may leave.
        if not self.filtered:
            return True
        return policy.allows(inward=False, version=version, service=service, neighbor=neighbor)

    def may_get(self, policy: Policy, version: int, service: int) -> bool:
        """Tell whether a datagram of the sink's arrives."""
        if not (self.filtered or self.trusted):
            return True
        return self.filtered and policy.allows(inward=True, version=version, service=service, neighbor=SINK)
