"""Every option of the agent, as oslo.config declares it: name, default, range, and help with the unit.

etc/ofctl.conf is generated from here.
"""

from __future__ import annotations

from oslo_config import cfg

MAX_DEVICE_PREFIX = 5
"""Leaves ten digits of the hash of the port's id in a device name of 15 bytes."""

AGENT: list[cfg.Opt] = [
    cfg.StrOpt(
        "host_id",
        sample_default="<host name>",
        help="Name of this host in requests and replies. Default: the host name of the machine.",
    ),
    cfg.StrOpt("bridge", default="br-int", help="The integration bridge, which the agent makes and owns."),
    cfg.DictOpt(
        "physical_networks",
        default={},
        help="The way out for each physical network, as NAME:DEVICE, comma separated. The device is a network "
        "interface (a bond of the kernel too), several joined by + (Open vSwitch bonds them, active-backup), or "
        "another OVS bridge; it must not carry an address or a route of this host.",
    ),
    cfg.StrOpt(
        "device_prefix",
        default="tap",
        help=f"First characters (1 to {MAX_DEVICE_PREFIX}) of the names of the devices that the agent makes when the "
        "request names none.",
    ),
    cfg.FloatOpt(
        "plug_timeout_s",
        default=30.0,
        min=0.1,
        max=3600,
        help="Seconds that a plug or unplug may take when the call has no deadline of its own.",
    ),
    cfg.IntOpt(
        "max_ports",
        default=1000,
        min=1,
        max=60_000,
        help="Ports that this host may carry; more are refused. OVS advertises far more than it can carry.",
    ),
    cfg.IntOpt(
        "max_connections_per_port",
        default=16_384,
        min=1,
        max=3_000_000,
        help="Tracked connections that one port with stateful security groups may have. What it opens beyond is not "
        "tracked: it goes out, and its answer is refused. Open vSwitch tracks 3,000,000 on the whole host.",
    ),
    cfg.ListOpt(
        "admin_uids",
        default=["0"],
        help="User ids, comma separated, that may change and unplug the ports of everybody.",
    ),
    cfg.StrOpt(
        "log_format",
        default="text",
        choices=[("text", "key=value, for people"), ("json", "one JSON object a line")],
        help="Form of the log lines, which go to standard error.",
    ),
    cfg.StrOpt(
        "log_level",
        default="INFO",
        choices=[
            ("DEBUG", "every message to and from the switch"),
            ("INFO", "every change, once"),
            ("WARNING", "what somebody should look at"),
            ("ERROR", "what did not work"),
        ],
        help="Least severity that is logged.",
    ),
]
OVSDB: list[cfg.Opt] = [
    cfg.StrOpt(
        "connection",
        default="unix:/var/run/openvswitch/db.sock",
        help="Database of Open vSwitch: unix:PATH or tcp:ADDRESS:PORT.",
    ),
    cfg.StrOpt(
        "rundir",
        default="/var/run/openvswitch",
        help="Run directory of ovs-vswitchd: has the bridges' management sockets, and the control socket.",
    ),
    cfg.StrOpt(
        "datapath_type",
        default="auto",
        choices=[
            ("auto", "system if the kernel has it, else netdev"),
            ("system", "in the kernel"),
            ("netdev", "in user space"),
        ],
        help="Datapath of the bridge. An existing bridge is never changed from one to the other.",
    ),
    cfg.FloatOpt("timeout_s", default=10.0, min=0.1, max=600, help="Seconds to wait for one answer of the database."),
]
OPENFLOW: list[cfg.Opt] = [
    cfg.FloatOpt(
        "echo_interval_s",
        default=5.0,
        min=0.1,
        max=300,
        help="Seconds of silence after which the switch is asked for an echo; it is disconnected when it does not "
        "answer in as many seconds again.",
    ),
    cfg.FloatOpt(
        "reconnect_max_s",
        default=2.0,
        min=0.05,
        max=300,
        help="Longest pause in seconds between two attempts to connect.",
    ),
    cfg.FloatOpt("timeout_s", default=10.0, min=0.1, max=600, help="Seconds to wait for one answer of the switch."),
]
GRPC: list[cfg.Opt] = [
    cfg.StrOpt("socket", default="/run/ofctl/ofctl.sock", help="Unix socket that the API listens on."),
    cfg.StrOpt("socket_mode", default="0660", help="Permissions of the socket, octal."),
    cfg.StrOpt("socket_group", default="", help="Group of the socket, by name. Default: the group of the agent."),
    cfg.StrOpt(
        "listen",
        default="",
        help="HOST:PORT (or [IPV6]:PORT) to listen on with TCP too. Off by default. Anything but a loopback address "
        "needs the three TLS options.",
    ),
    cfg.StrOpt("tls_cert", default="", help="File with the server's certificate chain, PEM."),
    cfg.StrOpt("tls_key", default="", help="File with the server's private key, PEM."),
    cfg.StrOpt("tls_ca", default="", help="File with the authorities that sign the clients' certificates, PEM."),
    cfg.ListOpt(
        "admin_names",
        default=[],
        help="Common names of clients' certificates, comma separated, that may change and unplug the ports of "
        "everybody.",
    ),
    cfg.IntOpt(
        "reply_reserve_ms",
        default=200,
        min=0,
        max=10_000,
        help="Milliseconds before a call's deadline at which the agent stops, so that its answer still arrives.",
    ),
]
DATABASE: list[cfg.Opt] = [
    cfg.StrOpt(
        "connection",
        default="unix:/run/ofctl/db.sock",
        help="Database of the intents: unix:PATH or tcp:ADDRESS:PORT; several, comma separated, for a cluster.",
    ),
    cfg.IntOpt(
        "max_requests",
        default=10_000,
        min=1,
        max=1_000_000,
        help="Outcomes of earlier requests that are kept for GetPort by request id; the oldest go first.",
    ),
    cfg.FloatOpt("timeout_s", default=10.0, min=0.1, max=600, help="Seconds to wait for one answer of the database."),
]
GUESTS: list[cfg.Opt] = [
    cfg.DictOpt(
        "http",
        default={},
        help="Where a guest's REST interface (ryu.app.wsgi) listens, as NAME:ADDRESS:PORT on a loopback address, or "
        "NAME:/PATH of a unix socket; comma separated. A guest that is not named here listens on a unix socket in "
        "run_dir.",
    ),
    cfg.DictOpt(
        "config_files",
        default={},
        help="Configuration files of guests, read into their CONF, as NAME:/PATH, comma separated.",
    ),
    cfg.DictOpt(
        "datapath_ids",
        default={},
        help="Datapath ids of guests' own bridges, as NAME:NUMBER (decimal, or hexadecimal with 0x), comma separated; "
        "for applications that name their switch. A bridge that is not named here has one made from the host's id and "
        "its name.",
    ),
    cfg.StrOpt("run_dir", default="/run/ofctl/guests", help="Directory of the unix sockets that guests listen on."),
    cfg.IntOpt(
        "max_change_rate",
        default=500,
        min=1,
        max=100_000,
        help="Changes of flows, groups, meters and settings that a guest may send in a second; it waits with the next.",
    ),
    cfg.IntOpt(
        "max_packet_rate",
        default=1000,
        min=1,
        max=100_000,
        help="Packet-outs that a guest may send in a second; it waits with the next.",
    ),
    cfg.IntOpt(
        "max_flows",
        default=20_000,
        min=1,
        max=1_000_000,
        help="Flows that a guest may have; more are refused with the OpenFlow error for a full table.",
    ),
    cfg.IntOpt("memory_mb", default=1024, min=128, max=65_536, help="Address space of a guest's process in MiB."),
    cfg.IntOpt(
        "max_threads",
        default=256,
        min=16,
        max=10_000,
        help="Threads of a guest's process; a guest with more is killed and started again.",
    ),
    cfg.FloatOpt(
        "restart_max_s",
        default=30.0,
        min=0.1,
        max=3600,
        help="Longest pause in seconds before a guest that died is started again.",
    ),
]
APP = cfg.MultiStrOpt("app", default=[], help="An entry as in [apps] load, besides those; again for another.")
"""On the command line alone."""
APPS: list[cfg.Opt] = [
    cfg.ListOpt(
        "load",
        default=[],
        help="Apps and guests to load (docs/plugins.md), comma separated, in the order in which frames meet them: "
        "[NAME=]TARGET[@WHERE]. TARGET is an installed package's entry point, a module, or a file, each with :CLASS "
        "for one of several apps. WHERE is for guests (classic Ryu and os-ken applications): a bridge that the guest "
        "gets whole, or fence:from-port (the default) or fence:to-port on the owned bridge. An app has its own options "
        "in group [app:NAME], guests have group [guests].",
    ),
    cfg.FloatOpt(
        "bind_timeout_s",
        default=10.0,
        min=0.1,
        max=600,
        help="Seconds that a binder has for one port, if the deadline of the call is not sooner.",
    ),
    cfg.IntOpt(
        "packet_in_port_rate",
        default=100,
        min=1,
        max=10_000,
        help="Frames of one port that an app is handed in a second; a port that goes on sending more is muted for a "
        "while.",
    ),
    cfg.IntOpt(
        "packet_in_rate",
        default=1000,
        min=1,
        max=10_000,
        help="Frames that an app is handed in a second, of all ports together.",
    ),
]
GROUPS: dict[str, list[cfg.Opt]] = {
    "agent": AGENT,
    "ovsdb": OVSDB,
    "openflow": OPENFLOW,
    "grpc": GRPC,
    "database": DATABASE,
    "apps": APPS,
    "guests": GUESTS,
}


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return the options by group, as oslo-config-generator asks for them (entry point `oslo.config.opts`)."""
    return list(GROUPS.items())
