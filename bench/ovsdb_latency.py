"""Latency of the OVSDB driver on a private switch and a private store: `unshare -n python bench/ovsdb_latency.py`.

Attach and detach one at a time and many at once, as ports accumulate; durable writes of intents. Milliseconds.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ofctl.model.confirmation import Outcome, RequestRecord
from ofctl.model.ids import DeviceName, HostId, MacAddress, NetworkId, PortId, RequestId
from ofctl.model.network import Network
from ofctl.model.port import PortSpec, PortState, VmConsumer
from ofctl.ovsdb.intents import IntentStore, NewBinding
from ofctl.ovsdb.switch import SwitchDatabase
from ofctl.ovsdb.values import Attachment, BridgeSpec
from ofctl.sandbox.ovs import OvsdbServer, PrivateOvs

T = TypeVar("T")
HOST = HostId("bench-1")
BRIDGE = "br-bench"
SEQUENTIAL = 40
AT_ONCE = 100
SCHEMA = Path(__file__).parents[1] / "etc" / "ofctl.ovsschema"


def soon() -> float:
    return asyncio.get_running_loop().time() + 60


def make_taps(names: Sequence[str]) -> None:
    for name in names:
        subprocess.run(["ip", "tuntap", "add", name, "mode", "tap"], check=True)


def attachment(name: str) -> Attachment:
    return Attachment(
        device=DeviceName(name),
        bridge=BRIDGE,
        port_id=PortId(f"port-{name}"),
        mac_address=MacAddress("52:54:00:00:00:01"),
        host_id=HOST,
        mtu=1500,
    )


async def each(what: str, call: Callable[[T], Awaitable[object]], arguments: Sequence[T]) -> None:
    """Time the calls one after the other."""
    times = []
    for argument in arguments:
        begin = time.perf_counter()
        await call(argument)
        times.append((time.perf_counter() - begin) * 1e3)
    percentiles = statistics.quantiles(times, n=100)
    report(f"{what}, {len(times)} one at a time", f"p50 {percentiles[49]:.1f} p99 {percentiles[98]:.1f}")


async def together(what: str, calls: Sequence[Awaitable[object]], transactions: Callable[[], int]) -> None:
    """Time the calls all at once."""
    before = transactions()
    begin = time.perf_counter()
    await asyncio.gather(*calls)
    elapsed = (time.perf_counter() - begin) * 1e3
    report(f"{what}, {len(calls)} at once", f"{elapsed:.0f} in {transactions() - before} transactions")


def report(what: str, figures: str) -> None:
    sys.stdout.write(f"{what:44} {figures}\n")


async def measure_switch(switch: PrivateOvs) -> None:
    database = SwitchDatabase(switch.database.connection, host_id=HOST)
    await database.start(deadline=soon())
    await database.ensure_bridge(BridgeSpec(name=BRIDGE), deadline=soon())
    few = [f"few{number}" for number in range(SEQUENTIAL)]
    many = [f"many{number}" for number in range(AT_ONCE)]
    make_taps([*few, *many])
    try:
        await each("attach", lambda name: database.attach(attachment(name), deadline=soon()), few)
        await each("detach", lambda name: database.detach(DeviceName(name), deadline=soon()), few)
        await together(
            "attach", [database.attach(attachment(name), deadline=soon()) for name in many], lambda: database.waves_sent
        )
        await each("attach beside 100", lambda name: database.attach(attachment(name), deadline=soon()), few)
    finally:
        await database.close()


async def measure_store(server: OvsdbServer) -> None:
    store = IntentStore(server.connection, host_id=HOST)
    await store.start(deadline=soon())
    network = NetworkId("net-1")

    async def write(number: int) -> None:
        request = RequestRecord(
            request_id=RequestId(f"request-{number}"),
            port_id=PortId(f"port-{number}"),
            host_id=HOST,
            outcome=Outcome.IN_PROGRESS,
            at_ms=number,
        )
        spec = PortSpec(
            port_id=request.port_id,
            network_id=network,
            host_id=HOST,
            consumer=VmConsumer(),
            mac_address=MacAddress(f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"),
            mtu=1500,
        )
        new = NewBinding(
            spec=spec,
            device=DeviceName(f"tap{number}"),
            request_id=request.request_id,
            principal="uid:0",
            state_since_ms=0,
        )
        await store.add_bindings([new], request, deadline=soon())

    try:
        await store.put_network(Network(network_id=network), deadline=soon())
        await each("durable add of a binding and its record", write, range(SEQUENTIAL))
        await together(
            "durable add", [write(1000 + number) for number in range(AT_ONCE)], lambda: store.transactions_sent
        )
        await store.close()
        binding = (await store.start(deadline=soon())).bindings[0]
        changes = [binding.in_state(PortState.ACTIVE, "", at_ms=number) for number in range(SEQUENTIAL)]
        await each(
            "durable update of a binding", lambda one: store.update_bindings([one], None, deadline=soon()), changes
        )
    finally:
        await store.close()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ofb-", dir="/tmp") as directory:
        switch = PrivateOvs(Path(directory) / "ovs")
        server = OvsdbServer(Path(directory) / "store", name="ofctl", schema=SCHEMA)
        try:
            switch.start()
            server.start()
            asyncio.run(measure_switch(switch))
            asyncio.run(measure_store(server))
        finally:
            server.stop()
            switch.stop()


if __name__ == "__main__":
    main()
