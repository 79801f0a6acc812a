"""Latency of a commit, and of settling the datapath, on a private switch.

Run it as root, in a network namespace of its own: `unshare -n python bench/openflow_latency.py`.
"""

from __future__ import annotations

import asyncio
import re
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from ofctl.openflow.revalidation import Revalidators
from ofctl.openflow.switch import Switch
from ofctl.pipeline import fields as f
from ofctl.pipeline.changes import AddFlow, Change
from ofctl.pipeline.flow import Cookie, Flow, Match, Output, Table, Term
from ofctl.sandbox.ovs import PrivateOvs

FIRST = Table(0, "first", "bench", "bench")
TRAFFIC = 0x88B5
BURST = 50
KEYS = re.compile(r"\(keys (\d+)\)")


def prepare(ovs: PrivateOvs) -> None:
    """Make a bridge with one end of a veth in it."""
    for command in (
        "ip link set lo up", "ip link add near type veth peer name far", "ip link set near up", "ip link set far up"
    ):  # fmt: skip
        subprocess.run(command.split(), check=True)
    ovs.start()
    ovs.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail_mode=secure")
    ovs.vsctl("add-port", "br0", "near", "--", "set", "interface", "near", "ofport_request=1")


async def cache(ovs: PrivateOvs, sender: socket.socket, wanted: int) -> None:
    """Send frames from that many sources, again and again until each has a megaflow."""
    for _ in range(20):
        for source in range(1, wanted + 1):
            ethernet = bytes(6) + (0x525400000000 + source).to_bytes(6, "big") + TRAFFIC.to_bytes(2, "big")
            sender.send(ethernet + bytes(46))
            if source % BURST == 0:
                await asyncio.sleep(0.002)
        if sum(map(int, KEYS.findall(await asyncio.to_thread(ovs.appctl, "upcall/show")))) >= wanted:
            return
    raise SystemExit(f"the switch did not cache {wanted} megaflows")


def show(what: str, milliseconds: list[float]) -> None:
    """Print median, 90th percentile and maximum."""
    ordered = sorted(milliseconds)
    p90 = ordered[int(0.9 * (len(ordered) - 1))]
    print(f"{what:36} p50 {statistics.median(ordered):7.2f}  p90 {p90:7.2f}  max {ordered[-1]:7.2f} ms")


async def measure(ovs: PrivateOvs) -> None:
    loop = asyncio.get_running_loop()
    switch = Switch("br0", ovs.rundir / "br0.mgmt")
    await switch.start()
    await switch.wait_connected(deadline=loop.time() + 10)
    revalidators = Revalidators(ovs.rundir, switch)
    cookie = 0

    async def commit(count: int) -> float:
        nonlocal cookie
        cookie += 1
        changes: list[Change] = [
            AddFlow(Flow(FIRST, 5, Match.of(Term(f.METADATA, 1000 * cookie + n)), Cookie(cookie), (Output(1),)))
            for n in range(count)
        ]
        begun = time.perf_counter()
        await switch.commit(changes, deadline=loop.time() + 5)
        return (time.perf_counter() - begun) * 1e3

    for count in (3, 40):
        show(f"commit, {count} flows", [await commit(count) for _ in range(200)])
    split = Match.of(Term(f.ETH_TYPE, TRAFFIC), Term(f.ETH_SRC, 0x020000000001))
    await switch.commit([AddFlow(Flow(FIRST, 20, split, Cookie(1), (Output(1),)))], deadline=loop.time() + 5)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("far", 0))
        for megaflows, rounds in ((10, 100), (2000, 15), (9000, 8)):
            times = []
            for _ in range(rounds):
                await cache(ovs, sender, megaflows)
                await commit(3)
                begun = time.perf_counter()
                await revalidators.settle(deadline=loop.time() + 5)
                times.append((time.perf_counter() - begun) * 1e3)
            show(f"settle, {megaflows} megaflows", times)
    await revalidators.close()
    await switch.close()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ofb-", dir="/tmp") as directory:
        ovs = PrivateOvs(Path(directory))
        try:
            prepare(ovs)
            asyncio.run(measure(ovs))
        finally:
            ovs.stop()


if __name__ == "__main__":
    main()
