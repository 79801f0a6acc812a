"""Does this kernel have Open vSwitch's datapath? One question over generic netlink."""

from __future__ import annotations

import socket
import struct

NETLINK_GENERIC = 16
GENL_ID_CTRL = 16
CTRL_CMD_GETFAMILY = 3
CTRL_ATTR_FAMILY_NAME = 2
NLM_F_REQUEST = 1
NLMSG_ERROR = 2
OVS_DATAPATH_FAMILY = b"ovs_datapath\0"
"""include/uapi/linux/openvswitch.h; the kernel loads the module when the family is asked for."""
TIMEOUT_S = 2.0


def kernel_has_datapath() -> bool:
    """Ask for the generic netlink family of the kernel datapath. Blocks at most 2 s, while a module is loaded."""
    attribute = struct.pack("=HH", 4 + len(OVS_DATAPATH_FAMILY), CTRL_ATTR_FAMILY_NAME) + OVS_DATAPATH_FAMILY
    attribute += b"\0" * (-len(attribute) % 4)
    payload = struct.pack("=BBH", CTRL_CMD_GETFAMILY, 1, 0) + attribute
    header = struct.pack("=IHHII", 16 + len(payload), GENL_ID_CTRL, NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_GENERIC) as channel:
        channel.settimeout(TIMEOUT_S)
        channel.bind((0, 0))
        channel.send(header + payload)
        try:
            reply = channel.recv(8192)
        except TimeoutError:
            return False
    (kind,) = struct.unpack_from("=H", reply, 4)
    return bool(kind != NLMSG_ERROR)
