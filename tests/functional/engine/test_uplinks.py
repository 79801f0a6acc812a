"""FLAT and VLAN networks leave the host with the right tag: by a NIC, by a bond, and by another bridge."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from ofctl.model.ids import DeviceName, MacAddress, NetworkId, PhysicalNetwork
from ofctl.model.network import NetworkType
from ofctl.sandbox.ovs import run
from tests.eyes import open_tap
from tests.functional.engine.lab import NETWORK, Lab

PHYSNET = PhysicalNetwork("physnet1")
ETHERTYPE = bytes.fromhex("88b6")
GUEST = bytes.fromhex("525400000001")
ETH_P_ALL = 3


def make_cable(near: str, far: str) -> None:
    run(["ip", "link", "add", near, "type", "veth", "peer", "name", far])
    for end in (near, far):
        run(["ip", "link", "set", end, "up"])


def listen(device: str) -> socket.socket:
    """Hear every frame that comes out of a device, tags included (packet(7), PACKET_AUXDATA has them)."""
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    ear.bind((device, ETH_P_ALL))
    ear.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
    ear.setblocking(False)
    return ear


async def heard(ear: socket.socket, sender: bytes) -> int | None:
    """Return the VLAN id (0: untagged) of the first frame from `sender`, None if there is none within a second."""
    for _ in range(100):
        try:
            frame, extra, _, _ = ear.recvmsg(2048, 256)
        except BlockingIOError:
            await asyncio.sleep(0.01)
            continue
        if frame[6:12] == sender:
            auxdata = extra[0][2]
            return int.from_bytes(auxdata[16:18], "little") & 0xFFF
    return None


@pytest.mark.parametrize("way", ["nic", "bond", "bridge"])
@pytest.mark.parametrize(("network_type", "tag"), [(NetworkType.FLAT, None), (NetworkType.VLAN, 42)])
async def test_frames_leave_with_the_tag_of_the_network(
    lab: Lab, way: str, network_type: NetworkType, tag: int | None
) -> None:
    await lab.stop()
    make_cable("nic0", "wire0")
    devices = [DeviceName("nic0")]
    if way == "bond":
        make_cable("nic1", "wire1")
        devices.append(DeviceName("nic1"))
    elif way == "bridge":
        lab.ovs.vsctl("add-br", "br-phy", "--", "set", "bridge", "br-phy", "datapath_type=netdev")
        lab.ovs.vsctl("add-port", "br-phy", "nic0")
        devices = [DeviceName("br-phy")]
    await lab.start(physical_networks={PHYSNET: tuple(devices)})
    network = replace(
        NETWORK,
        network_id=NetworkId("outer"),
        network_type=network_type,
        segmentation_id=tag,
        physical_network=PHYSNET,
        port_security=False,
    )
    await lab.apply_network(network)
    spec = lab.spec("p1", network_id=network.network_id, mac_address=MacAddress("52:54:00:00:00:01"))
    (port,) = await lab.plug(spec)
    (uplink,) = lab.engine.host().uplinks
    assert uplink.ofport
    assert not uplink.problem
    wires = ["wire0", "wire1"] if way == "bond" else ["wire0"]
    ears = [listen(wire) for wire in wires]
    with open_tap(port.binding.device) as tap:
        tap.write(b"\xff" * 6 + GUEST + ETHERTYPE + bytes(46))
        tags = [heard_tag for ear in ears if (heard_tag := await heard(ear, GUEST)) is not None]
    for ear in ears:
        ear.close()
    assert tags == [tag or 0]
