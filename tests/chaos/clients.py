"""A client: plugs, updates, unplugs, applies and deletes groups, and puts to the test what it was told."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from io import FileIO
from typing import TypeVar

from ofctl.client import (
    Aborted,
    ApiError,
    AsyncClient,
    ConfirmationLevel,
    ConfirmedPort,
    DeadlineExceeded,
    Internal,
    NotFound,
    Outcome,
    PortSpec,
    Unavailable,
)
from ofctl.sandbox.processes import ProcessFailed
from ofctl.sandbox.sandbox import Sandbox
from tests.chaos.evidence import flows_of
from tests.chaos.faults import Faults
from tests.chaos.frames import Ears
from tests.chaos.trial import Trial
from tests.chaos.truth import Guest, Policy, some_rules

R = TypeVar("R")

CALL_S = 8.0
TRIES = 200
"""With 0.1 s between them: longer than any fault lasts."""
LOOKS = 5
TROUBLES = (Aborted, DeadlineExceeded, Internal, Unavailable)
"""What a fault may make of a call. All that is asked for is right, so nothing else is an answer to it."""
LEVELS = (ConfirmationLevel.CONFIRMATION_LEVEL_DATAPATH, ConfirmationLevel.CONFIRMATION_LEVEL_READBACK)
READBACK = ConfirmationLevel.CONFIRMATION_LEVEL_READBACK


@dataclass
class Account:
    """What was counted."""

    plugs: int = 0
    updates: int = 0
    group_changes: int = 0
    unplugs: int = 0
    confirmed: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    trial_s: list[float] = field(default_factory=list)
    """Confirmed, and all that was permitted arrived within so many seconds."""
    evidence: int = 0
    """Confirmed, and what ovs-ofctl dumped was as many flows as the evidence says."""
    excused: int = 0
    """Confirmed, and a fault that blinds or touches the port struck before it could be seen."""
    lies: list[str] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)


@dataclass
class Scene:
    """What all clients share."""

    sandbox: Sandbox
    faults: Faults
    account: Account
    plugs: int
    ears: Ears
    sink: FileIO


@dataclass(frozen=True)
class _Told:
    """A confirmed reply: by whom what is seen now may be excused."""

    what: str
    level: ConfirmationLevel.ValueType
    begun: float
    struck: int
    blind: bool


class StormClient:
    """One caller. Belongs to one event loop."""

    def __init__(self, scene: Scene, client: AsyncClient, number: int, dice: random.Random) -> None:
        self._scene = scene
        self._account = scene.account
        self._client = client
        self._dice = dice
        self.policy = Policy(number, stateful=number % 3 != 2, rules=some_rules(dice))
        self.guests: dict[int, Guest] = {}

    async def run(self) -> None:
        """Go on until as many ports were plugged as shall be; leave some there."""
        for which in ("members", "prefixes", "rules"):
            await self._apply_until_done(which)
        while self._account.plugs < self._scene.plugs:
            self._account.plugs += 1
            await self._plug(self._account.plugs)
            for _ in range(self._dice.randrange(3)):
                await self._dice.choice((*[self._update] * 3, *[self._change_groups] * 2, self._pass_by))()
            while len(self.guests) > 3 or (self.guests and self._dice.random() < 0.4):
                await self._unplug(self._dice.choice(sorted(self.guests)))
        for number in sorted(self.guests)[1:]:
            await self._unplug(number)

    # Ports

    async def _plug(self, number: int) -> None:
        dice = self._dice
        guest = Guest(
            number,
            secured=dice.choice((None, None, True, False)),
            more=dice.random() < 0.3,
            paired=dice.random() < 0.3,
            filtered=dice.random() < 0.7,
            trusted=dice.random() < 0.3,
        )
        level, request_id, begun = dice.choice(LEVELS), f"r-{guest.port_id}", time.monotonic()
        spec, timeout_s = guest.spec(self.policy), dice.uniform(0.5, CALL_S)
        try:
            port = await self._client.plug(spec, level=level, request_id=request_id, timeout_s=timeout_s)
        except ApiError as error:
            self._failed(error)
            if not await self._resolved(request_id, error):
                return
            port = await self._again(lambda: self._client.port(guest.port_id, timeout_s=CALL_S))
        else:
            told = self._told(f"plug of {guest.port_id}", level, begun)
            guest = replace(guest, mac=port.vif_details.mac_address, device=port.vif_details.device_name)
            self.guests[number] = guest
            await self._put_to_the_test(guest, told, port.confirmation.flow_count)
        self.guests[number] = replace(guest, mac=port.vif_details.mac_address, device=port.vif_details.device_name)

    async def _update(self) -> None:
        if not self.guests:
            return
        self._account.updates += 1
        before = self.guests[self._dice.choice(sorted(self.guests))]
        after, fields = before.changed(self._dice)
        level, request_id, begun = self._dice.choice(LEVELS), f"u-{self._account.updates}", time.monotonic()
        timeout_s = self._dice.uniform(0.5, CALL_S)
        try:
            port = await self._client.update(
                after.spec(self.policy), fields, level=level, request_id=request_id, timeout_s=timeout_s
            )
        except ApiError as error:
            self._failed(error)
            if await self._resolved(request_id, error):
                self.guests[before.number] = after
            await self._compare(self.guests[before.number], request_id)
        else:
            told = self._told(f"update of {before.port_id}: {fields}", level, begun)
            self.guests[before.number] = after
            await self._put_to_the_test(after, told, port.confirmation.flow_count)

    async def _compare(self, guest: Guest, request_id: str) -> None:
        """See that the port is what the outcome of an update makes it."""
        is_ = (await self._again(lambda: self._client.port(guest.port_id, timeout_s=CALL_S))).spec
        wanted = guest.spec(self.policy)
        if [sorted(is_.fixed_ips), _pairs(is_), sorted(is_.security_groups)] != [
            sorted(wanted.fixed_ips),
            _pairs(wanted),
            sorted(wanted.security_groups),
        ] or (is_.port_security if is_.HasField("port_security") else None) != guest.secured:
            self._account.disagreements.append(f"{request_id}: {guest.port_id} is {is_}, not {wanted}")

    async def _unplug(self, number: int) -> None:
        self._account.unplugs += 1
        port_id = self.guests.pop(number).port_id
        await self._again(
            lambda: self._client.unplug(port_id, force=True, missing_ok=True, timeout_s=CALL_S), f"unplug {port_id}"
        )

    async def _resolved(self, request_id: str, error: ApiError) -> bool:
        """Return whether what a failed call asked for is there in the end, as the agent says."""
        for _ in range(TRIES):
            try:
                outcome = (await self._client.request(request_id, timeout_s=CALL_S)).request.outcome
            except NotFound:
                return False
            except ApiError:
                outcome = Outcome.OUTCOME_UNKNOWN
            if outcome == Outcome.OUTCOME_CONFIRMED:
                return True
            if outcome in (Outcome.OUTCOME_ABSENT, Outcome.OUTCOME_UNCHANGED):
                return False
            await asyncio.sleep(0.1)
        self._account.disagreements.append(f"{request_id}: still no outcome after {error}")
        return False

    # Groups

    async def _change_groups(self) -> None:
        before = self.policy
        self.policy, which = before.changed(self._dice)
        if not await self._applied(which, before):
            await self._apply_until_done(which)

    async def _applied(self, which: str, before: Policy) -> bool:
        """Apply one of the groups, and put a port to the test that it concerns; return whether it was done."""
        level, begun, timeout_s = self._dice.choice(LEVELS), time.monotonic(), self._dice.uniform(0.5, CALL_S)
        self._account.group_changes += 1
        try:
            applied = await self._apply(which, level, timeout_s)
        except ApiError as error:
            self._failed(error)
            if error.outcome == "UNCHANGED":
                await self._see_unchanged(which, before)
            return False
        told = self._told(f"{which} of {self.policy.names[0]}", level, begun)
        counts = {port.port_id: port.confirmation.flow_count for port in applied}
        concerned = {
            guest.port_id: guest
            for guest in self.guests.values()
            if guest.filtered and (which == "rules" or self.policy.names_remote(_remote(which)))
        }
        if set(counts) != set(concerned):
            self._account.disagreements.append(f"{told.what}: confirmed on {sorted(counts)}, not {sorted(concerned)}")
        if concerned:
            guest = concerned[self._dice.choice(sorted(concerned))]
            await self._put_to_the_test(guest, told, counts.get(guest.port_id, 0))
        return True

    async def _apply_until_done(self, which: str) -> None:
        name = self.policy.names[0]
        await self._again(lambda: self._apply(which, LEVELS[0], CALL_S), f"apply {which} of {name}")

    async def _apply(self, which: str, level: ConfirmationLevel.ValueType, timeout_s: float) -> Iterable[ConfirmedPort]:
        if which == "prefixes":
            wanted = self.policy.address_group()
            return (await self._client.apply_address_group(wanted, level=level, timeout_s=timeout_s)).ports
        group = self.policy.security_group() if which == "rules" else self.policy.member_group()
        return (await self._client.apply_security_group(group, level=level, timeout_s=timeout_s)).ports

    async def _see_unchanged(self, which: str, before: Policy) -> None:
        rules, members, prefixes = before.names
        if which == "prefixes":
            shown = await self._again(lambda: self._client.address_group(prefixes, timeout_s=CALL_S))
            same = sorted(shown.addresses) == sorted(before.prefixes)
        elif which == "members":
            group = await self._again(lambda: self._client.security_group(members, timeout_s=CALL_S))
            same = sorted(each.address for each in group.members) == sorted(before.members)
        else:
            group = await self._again(lambda: self._client.security_group(rules, timeout_s=CALL_S))
            same = len(group.rules) == len(before.rules)
        if not same:
            self._account.disagreements.append(f"{which} of {rules} are not UNCHANGED")

    async def _pass_by(self) -> None:
        """Apply a group that nobody uses, and delete it."""
        group = replace(self.policy, rules=some_rules(self._dice)).security_group()
        group.security_group_id = name = f"t{self.policy.number}"
        self._account.group_changes += 2
        await self._again(lambda: self._client.apply_security_group(group, timeout_s=CALL_S), f"apply {name}")
        await self._again(
            lambda: self._client.delete_security_group(name, missing_ok=True, timeout_s=CALL_S), f"delete {name}"
        )

    # What was told, and what is

    def _told(self, what: str, level: ConfirmationLevel.ValueType, begun: float) -> _Told:
        name = ConfirmationLevel.Name(level).rpartition("_")[2]
        self._account.confirmed[name] += 1
        faults = self._scene.faults
        return _Told(f"{what} at {name} at {time.time():.3f}", level, begun, faults.struck, faults.blind)

    async def _put_to_the_test(self, guest: Guest, told: _Told, flow_count: int) -> None:
        faults, account = self._scene.faults, self._account

        def excused() -> bool:
            return faults.touched(guest.device, told.begun, read_back=told.level == READBACK)

        def hopeless() -> bool:
            return told.blind or faults.struck != told.struck or excused()

        try:
            verdict = await Trial(self._scene.ears, self._scene.sink, guest, self.policy, hopeless=hopeless).run()
        except OSError as problem:
            if not hopeless():
                account.lies.append(f"{told.what}: {guest} {problem!r}")
            return
        account.frames += verdict.sent
        if verdict.leaked and not excused():
            account.lies.append(f"{told.what}: {guest} {self.policy} LEAKED {verdict.leaked}")
        elif verdict.lost and not hopeless():
            account.lies.append(f"{told.what}: {guest} {self.policy} LOST {verdict.lost}")
        elif verdict.lost or verdict.leaked:
            account.excused += 1
        else:
            account.trial_s.append(verdict.last_s)
        if told.level == READBACK and self._dice.random() < 0.15:
            await self._count_flows(guest, told, flow_count)

    async def _count_flows(self, guest: Guest, told: _Told, flow_count: int) -> None:
        """Compare the evidence with a dump; others, who name the same neighbours, come between, so more than once."""
        groups = guest.groups(self.policy)
        counts = []
        try:
            for _ in range(LOOKS):
                seen = await asyncio.to_thread(flows_of, self._scene.sandbox, guest.port_id, groups)
                counts.append((flow_count, seen))
                if seen == flow_count:
                    self._account.evidence += 1
                    return
                port = await self._client.verify(guest.port_id, level=READBACK, timeout_s=CALL_S)
                flow_count = port.confirmation.flow_count
        except (ProcessFailed, ApiError):
            self._account.excused += 1  # A database or the agent is away: there is nothing to compare.
            return
        faults = self._scene.faults
        if told.blind or faults.struck != told.struck or faults.touched(guest.device, told.begun, read_back=True):
            self._account.excused += 1
        else:
            self._account.lies.append(f"{told.what}: {guest} flows in the evidence and in the switch: {counts}")

    def _failed(self, error: ApiError) -> None:
        name = f"{type(error).__name__} {error.reason} {error.outcome}".strip()
        self._account.failed[name] += 1
        if not isinstance(error, TROUBLES):
            self._account.disagreements.append(f"refused for no reason: {name}: {error}")

    async def _again(self, call: Callable[[], Awaitable[R]], what: str = "look") -> R:
        """Return what a call returns that is made until it is answered."""
        for _ in range(TRIES):
            try:
                return await call()
            except ApiError as error:
                last = error
                self._failed(error)
                await asyncio.sleep(0.1)
        self._account.disagreements.append(f"{what}: cannot be done: {last}")
        raise last


def _pairs(spec: PortSpec) -> list[str]:
    return sorted(pair.address for pair in spec.allowed_address_pairs)


def _remote(which: str) -> str:
    return {"members": "group", "prefixes": "addresses"}[which]
