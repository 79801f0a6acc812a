"""The contract of apps, all of it: what a third party's app imports is here, and keeps its meaning.

`API_VERSION` counts the versions of what is listed here. docs/plugins.md teaches it from zero.
"""

from __future__ import annotations

from ofctl.errors import Refused
from ofctl.model.ids import HostId, NetworkIndex, PortIndex
from ofctl.model.network import Network, NetworkType
from ofctl.pipeline.anchors import ONWARD
from ofctl.pipeline.app import API_VERSION, AnchoredTable, Annotation, App, Counter, Place, RegisterBits
from ofctl.pipeline.binder import Binder, BoundPort, NotBound
from ofctl.pipeline.feature import FeatureApp
from ofctl.pipeline.fields import (
    ARP_OP,
    ARP_SHA,
    ARP_SPA,
    ARP_TPA,
    ETH_DST,
    ETH_SRC,
    ETH_TYPE,
    ICMPV6_TYPE,
    IN_PORT,
    IP_PROTO,
    IPV4_DST,
    IPV4_SRC,
    IPV6_DST,
    IPV6_SRC,
    ND_TARGET,
    TCP_DST,
    TCP_SRC,
    UDP_DST,
    UDP_SRC,
    VLAN_PRESENT,
    VLAN_VID,
    Field,
    RegisterSlice,
)
from ofctl.pipeline.flow import Flow, Match, PopVlan, PushVlan, Resubmit, SetField, Table, Term, ToApp
from ofctl.pipeline.packets import FromPort, PacketIn, PacketOut, ToOutside, ToPort
from ofctl.pipeline.tables import DESTINATION, NETWORK, SOURCE, Priority, host_cookie, network_cookie, port_cookie
from ofctl.pipeline.world import World, WorldPort

__all__ = [
    "API_VERSION",
    "ARP_OP",
    "ARP_SHA",
    "ARP_SPA",
    "ARP_TPA",
    "DESTINATION",
    "ETH_DST",
    "ETH_SRC",
    "ETH_TYPE",
    "ICMPV6_TYPE",
    "IN_PORT",
    "IPV4_DST",
    "IPV4_SRC",
    "IPV6_DST",
    "IPV6_SRC",
    "IP_PROTO",
    "ND_TARGET",
    "NETWORK",
    "ONWARD",
    "SOURCE",
    "TCP_DST",
    "TCP_SRC",
    "UDP_DST",
    "UDP_SRC",
    "VLAN_PRESENT",
    "VLAN_VID",
    "AnchoredTable",
    "Annotation",
    "App",
    "Binder",
    "BoundPort",
    "Counter",
    "FeatureApp",
    "Field",
    "Flow",
    "FromPort",
    "HostId",
    "Match",
    "Network",
    "NetworkIndex",
    "NetworkType",
    "NotBound",
    "PacketIn",
    "PacketOut",
    "Place",
    "PopVlan",
    "PortIndex",
    "Priority",
    "PushVlan",
    "Refused",
    "RegisterBits",
    "RegisterSlice",
    "Resubmit",
    "SetField",
    "Table",
    "Term",
    "ToApp",
    "ToOutside",
    "ToPort",
    "World",
    "WorldPort",
    "host_cookie",
    "network_cookie",
    "port_cookie",
]
