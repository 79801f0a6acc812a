"""Program: die at each edge in turn while making a device, and report what is left and whether the next agent copes.

Forks, so it is a process of its own with one thread. Argument: tap or veth. Prints one JSON object a line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

from ofctl.model.ids import DeviceName, HostId, PortId
from ofctl.netlink.links import Links
from ofctl.netlink.mark import OwnerMark
from ofctl.netlink.specs import Ensured, TapSpec, VethSpec
from ofctl.netlink.taps import ensure_tap
from ofctl.netlink.veths import ensure_veth
from tests.functional.netlink.conftest import Namespace
from tests.functional.netlink.edges import Edges, die

MARK = OwnerMark.of(HostId("host-1"), PortId("port-1"))
DEVICE = DeviceName("dev-1")


def maker(kind: str, namespace: Namespace) -> Callable[[Links], Ensured]:
    until = time.monotonic() + 60
    if kind == "tap":
        tap = TapSpec(device=DEVICE, port_id=PortId("port-1"), mtu=1400, owner_uid=7, checksum_offload_off=True)
        return lambda links: ensure_tap(links, tap, MARK, tun_path="/dev/net/tun", deadline=until)
    veth = VethSpec(
        device=DEVICE, port_id=PortId("port-1"), mtu=1400, netns_path=namespace.path, peer_name=DeviceName("eth0")
    )
    return lambda links: ensure_veth(links, veth, MARK, deadline=until)


def main(kind: str) -> None:
    namespace = Namespace()
    make = maker(kind, namespace)
    for position in range(1, 100):
        child = os.fork()
        if child == 0:
            edges = Edges(position, die)
            edges.patch(setattr)
            make(Links())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        links, until = Links(), time.monotonic() + 5
        left = [(state.device, state.alias) for state in links.all(until) if state.device != "lo"]
        ensured = make(links)
        found = [(state.device, state.alias) for state in links.all(until) if state.device != "lo"]
        links.delete([state for state in links.all(until) if state.device != "lo"], until)
        links.close()
        report = {"position": position, "status": status, "left": left, "found": found, "up": ensured.state.up}
        print(json.dumps(report), flush=True)  # noqa: T201
        if status == 0:
            return


if __name__ == "__main__":
    main(sys.argv[1])
