"""Python client of ofctl, sync and asyncio. It needs grpc and protobuf alone, and no switch.

    from ofctl.client import Client, Network, PortSpec, Subnet, VmConsumer

    with Client() as ofctl:
        ofctl.apply_network(Network(network_id="blue", subnets=[Subnet(cidr="192.0.2.0/24")]))
        port = ofctl.plug(PortSpec(port_id="web-1", network_id="blue", fixed_ips=["192.0.2.7"], vm=VmConsumer()))
        print(port.vif_details.device_name, "is port", port.confirmation.ofport, "of the switch")
        ofctl.unplug("web-1")

Requests and replies are the messages of the contract (protos/ofctl/v1), errors are in `ofctl.client.errors`.
"""

from ofctl.client.aio import AsyncClient
from ofctl.client.channel import DEFAULT_TARGET, Tls
from ofctl.client.errors import (
    Aborted,
    AlreadyExists,
    ApiError,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from ofctl.client.rules import rule
from ofctl.client.sync import Client
from ofctl.client.watching import PortEvent
from ofctl.v1.confirmation_pb2 import Confirmation, ConfirmationLevel, Outcome, ProbeFrame, RequestOutcome
from ofctl.v1.host_pb2 import AuditResponse, Finding, FindingKind, Host
from ofctl.v1.network_pb2 import Network, NetworkType, Subnet
from ofctl.v1.port_pb2 import (
    AddressPair,
    GetPortResponse,
    NamespaceConsumer,
    Port,
    PortSpec,
    PortState,
    Recovery,
    Route,
    VmConsumer,
)
from ofctl.v1.security_pb2 import (
    AddressGroup,
    ApplyAddressGroupResponse,
    ApplySecurityGroupResponse,
    ConfirmedPort,
    GroupMember,
    IcmpMessage,
    PortRange,
    RuleDirection,
    SecurityGroup,
    SecurityRule,
)
from ofctl.v1.vif_pb2 import DatapathType, VifDetails, VifType

__all__ = [
    "DEFAULT_TARGET",
    "Aborted",
    "AddressGroup",
    "AddressPair",
    "AlreadyExists",
    "ApiError",
    "ApplyAddressGroupResponse",
    "ApplySecurityGroupResponse",
    "AsyncClient",
    "AuditResponse",
    "Cancelled",
    "Client",
    "Confirmation",
    "ConfirmationLevel",
    "ConfirmedPort",
    "DatapathType",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Finding",
    "FindingKind",
    "GetPortResponse",
    "GroupMember",
    "Host",
    "IcmpMessage",
    "Internal",
    "InvalidArgument",
    "NamespaceConsumer",
    "Network",
    "NetworkType",
    "NotFound",
    "Outcome",
    "PermissionDenied",
    "Port",
    "PortEvent",
    "PortRange",
    "PortSpec",
    "PortState",
    "ProbeFrame",
    "Recovery",
    "RequestOutcome",
    "ResourceExhausted",
    "Route",
    "RuleDirection",
    "SecurityGroup",
    "SecurityRule",
    "Subnet",
    "Tls",
    "Unavailable",
    "Unimplemented",
    "VifDetails",
    "VifType",
    "VmConsumer",
    "rule",
]
