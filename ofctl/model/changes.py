"""What an update makes of a port that is plugged: some fields of its spec, each set anew as a whole."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Any

from ofctl.model.network import IpAddress
from ofctl.model.port import PortSpec
from ofctl.model.security import AddressPair, SecurityGroupId


class PortField(enum.Enum):
    """The fields of a spec that may change while the port is plugged; the value is the name in PortSpec."""

    PROJECT_ID = "project_id"
    DEVICE_ID = "device_id"
    DEVICE_OWNER = "device_owner"
    LABELS = "labels"
    ANNOTATIONS = "annotations"
    FIXED_IPS = "fixed_ips"
    ALLOWED_ADDRESS_PAIRS = "allowed_address_pairs"
    PORT_SECURITY = "port_security"
    SECURITY_GROUPS = "security_groups"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortChanges:
    """New values for the fields in `mask`; those of the others mean nothing. The values are as in PortSpec."""

    mask: frozenset[PortField]
    project_id: str = ""
    device_id: str = ""
    device_owner: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    fixed_ips: tuple[IpAddress, ...] = ()
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    port_security: bool | None = None
    security_groups: tuple[SecurityGroupId, ...] = ()

    def applied_to(self, spec: PortSpec) -> PortSpec:
        """Return `spec` with these changes. Raises InvalidField: the result would be no valid spec."""
        changed: dict[str, Any] = {field.value: getattr(self, field.value) for field in self.mask}
        return replace(spec, **changed)
