"""A Mininet topology on the bridge of a guest. The agent runs already, with the guest, for example

    [apps]
    load = learn=/PATH/examples/guests/learning_switch.py@br-learn

and this is run as root: python examples/guests/mininet_learning.py br-learn
"""

import subprocess
import sys
import warnings

with warnings.catch_warnings():
    # Mininet imports distutils, which says on import that it is deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from mininet.net import Mininet
    from mininet.node import Switch
    from mininet.topo import Topo


class GuestBridge(Switch):
    """A Mininet switch, named as a bridge that the agent has made for a guest; its links become ports of it."""

    def defaultDpid(self, dpid=None):  # noqa: N802 - Mininet's name
        """The agent has given one to the bridge already."""
        return dpid or "0" * 16

    def start(self, controllers):
        if controllers:
            raise ValueError("the guest is the only controller of its bridge: Mininet(..., controller=None)")
        self.attached = set()
        for interface in self.intfNames():
            if interface != "lo":
                self.attach(interface)

    def attach(self, intf):
        self.attached.add(str(intf))
        vsctl("--may-exist", "add-port", self.name, str(intf))

    def detach(self, intf):
        vsctl("--if-exists", "del-port", self.name, str(intf))

    def stop(self, deleteIntfs=True):  # noqa: N803 - Mininet's name
        for interface in self.attached:  # Mininet has removed the interfaces already.
            self.detach(interface)
        super().stop(deleteIntfs)


class OneBridge(Topo):
    """Three hosts on a bridge."""

    def build(self, bridge):
        self.addSwitch(bridge)
        for number in (1, 2, 3):
            # The name of a link's end would be that of the bridge and a number; a device has at most 15 characters.
            self.addLink(self.addHost(f"h{number}"), bridge, intfName2=f"port{number}")


def vsctl(*arguments):
    subprocess.run(["ovs-vsctl", "--timeout=10", *arguments], check=True)


def start(bridge):
    """Return a running network."""
    net = Mininet(topo=OneBridge(bridge), switch=GuestBridge, controller=None)
    net.start()
    return net


if __name__ == "__main__":
    network = start(sys.argv[1])
    try:
        lost = network.pingAll()
    finally:
        network.stop()
    sys.exit(1 if lost else 0)
