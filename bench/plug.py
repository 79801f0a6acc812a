"""What a plug costs: PlugPort over gRPC against a real agent and a real switch, one at a time and many at once."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import median

from ofctl.client import AsyncClient, Client, ConfirmationLevel, Network, Port, PortSpec, VmConsumer
from ofctl.sandbox.isolation import RUN, enter
from ofctl.sandbox.sandbox import Sandbox, StateDirectory

NETWORK = Network(network_id="bench", mtu=1500)


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def line(name: str, values_ms: list[float]) -> None:
    """Print p50 and p99 of durations in milliseconds."""
    print(f"  {name:<28} p50 {median(values_ms):8.2f} ms   p99 {percentile(values_ms, 0.99):8.2f} ms")


def vm(number: int, prefix: str = "p") -> PortSpec:
    """Return the spec of a VM's port."""
    return PortSpec(port_id=f"{prefix}{number}", network_id="bench", vm=VmConsumer())


def timed_plug(client: Client, spec: PortSpec, level: ConfirmationLevel.ValueType) -> tuple[float, Port]:
    """Plug and return how long the caller waited, in milliseconds, and the port."""
    begun = time.perf_counter()
    port = client.plug(spec, level=level)
    return (time.perf_counter() - begun) * 1e3, port


def sequential(client: Client, count: int, level: ConfirmationLevel.ValueType) -> None:
    """Plug `count` ports one after the other, then unplug them one after the other."""
    print(
        f"{count} sequential PlugPort calls, level {ConfirmationLevel.Name(level).removeprefix('CONFIRMATION_LEVEL_')}"
    )
    waited, stages = [], defaultdict(list)
    for number in range(count):
        spent, port = timed_plug(client, vm(number), level)
        waited.append(spent)
        for timing in port.confirmation.stages:
            stages[timing.stage].append(timing.duration_us / 1e3)
    line("as the caller sees it", waited)
    for stage, durations in stages.items():
        line(stage, durations)
    removed = []
    for number in range(count):
        begun = time.perf_counter()
        client.unplug(f"p{number}")
        removed.append((time.perf_counter() - begun) * 1e3)
    line("UnplugPort", removed)


async def at_once(target: str, count: int) -> None:
    """Plug `count` ports at the same time."""
    async with AsyncClient(target) as client:
        begun = time.perf_counter()
        await asyncio.gather(*(client.plug(vm(number, "c"), timeout_s=60) for number in range(count)))
        spent = time.perf_counter() - begun
        each = spent / count * 1e3
        print(f"{count} PlugPort calls at once: all confirmed after {spent * 1e3:.0f} ms, {each:.2f} ms each")
        await asyncio.gather(*(client.unplug(f"c{number}", timeout_s=60) for number in range(count)))


def run(*, full: bool) -> int:
    """Measure in a sandbox; print the figures. Returns the exit status."""
    enter(["-m", "bench", *sys.argv[1:]])
    options = {"agent": {"max_ports": 5000, "log_level": "WARNING"}}
    with StateDirectory() as state, Sandbox(Path(RUN), options=options, state=state) as sandbox:
        with Client(sandbox.target) as client:
            client.apply_network(NETWORK)
            timed_plug(client, vm(0, "warm"), ConfirmationLevel.CONFIRMATION_LEVEL_DATAPATH)
            levels = ("BARRIER", "DATAPATH", "READBACK") if full else ("DATAPATH",)
            for level in levels:
                sequential(client, 100, ConfirmationLevel.Value(f"CONFIRMATION_LEVEL_{level}"))
        for count in (100, 500) if full else (100,):
            asyncio.run(at_once(sandbox.target, count))
    return 0
