"""The enumerations of the contract beside those of the model: same names, with the contract's prefix."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Protocol, TypeVar, cast

from ofctl.errors import InvalidField
from ofctl.model.audit import FindingKind
from ofctl.model.confirmation import Level, Outcome
from ofctl.model.events import PortEventType
from ofctl.model.host import AppState
from ofctl.model.network import NetworkType
from ofctl.model.port import Activation, PortState, Recovery, VifType
from ofctl.model.security import RuleDirection
from ofctl.model.vif import DatapathType
from ofctl.v1 import confirmation_pb2, host_pb2, network_pb2, port_pb2, security_pb2, vif_pb2

M = TypeVar("M", bound=enum.Enum)
P = TypeVar("P", bound=int)


class _ProtoEnum(Protocol):
    def Value(self, name: str) -> int: ...  # noqa: N802 - protobuf's name


class Pairs(dict[M, P]):
    """Contract value by model value; `model` goes back."""

    def __init__(self, model: type[M], proto: _ProtoEnum, prefix: str) -> None:
        """Pair every member of `model`; raises ValueError if the contract lacks one."""
        super().__init__({member: cast(P, proto.Value(f"{prefix}_{member.name}")) for member in model})
        self._members: Mapping[int, M] = {number: member for member, number in self.items()}
        self._names = ", ".join(f"{prefix}_{member.name}" for member in model)

    def model(self, number: int, field: str, *, default: M | None = None) -> M:
        """Return the model's value of `number`, `default` if that is UNSPECIFIED; raises InvalidField."""
        if number == 0 and default is not None:
            return default
        member = self._members.get(number)
        if member is None:
            raise InvalidField(field, f"is {number}, which is none of {self._names}")
        return member


LEVELS: Pairs[Level, confirmation_pb2.ConfirmationLevel.ValueType] = Pairs(
    Level, confirmation_pb2.ConfirmationLevel, "CONFIRMATION_LEVEL"
)
OUTCOMES: Pairs[Outcome, confirmation_pb2.Outcome.ValueType] = Pairs(Outcome, confirmation_pb2.Outcome, "OUTCOME")
NETWORK_TYPES: Pairs[NetworkType, network_pb2.NetworkType.ValueType] = Pairs(
    NetworkType, network_pb2.NetworkType, "NETWORK_TYPE"
)
ACTIVATIONS: Pairs[Activation, port_pb2.Activation.ValueType] = Pairs(Activation, port_pb2.Activation, "ACTIVATION")
PORT_STATES: Pairs[PortState, port_pb2.PortState.ValueType] = Pairs(PortState, port_pb2.PortState, "PORT_STATE")
RECOVERIES: Pairs[Recovery, port_pb2.Recovery.ValueType] = Pairs(Recovery, port_pb2.Recovery, "RECOVERY")
VIF_TYPES: Pairs[VifType, vif_pb2.VifType.ValueType] = Pairs(VifType, vif_pb2.VifType, "VIF_TYPE")
DATAPATH_TYPES: Pairs[DatapathType, vif_pb2.DatapathType.ValueType] = Pairs(
    DatapathType, vif_pb2.DatapathType, "DATAPATH_TYPE"
)
EVENT_TYPES: Pairs[PortEventType, port_pb2.WatchPortsResponse.EventType.ValueType] = Pairs(
    PortEventType, port_pb2.WatchPortsResponse.EventType, "EVENT_TYPE"
)
FINDING_KINDS: Pairs[FindingKind, host_pb2.FindingKind.ValueType] = Pairs(
    FindingKind, host_pb2.FindingKind, "FINDING_KIND"
)
RULE_DIRECTIONS: Pairs[RuleDirection, security_pb2.RuleDirection.ValueType] = Pairs(
    RuleDirection, security_pb2.RuleDirection, "RULE_DIRECTION"
)
APP_STATES: Pairs[AppState, host_pb2.AppState.ValueType] = Pairs(AppState, host_pb2.AppState, "APP_STATE")
