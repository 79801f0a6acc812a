"""OpenFlow errors by name."""

from __future__ import annotations

import importlib
import struct
from dataclasses import dataclass

OFPET_EXPERIMENTER = 0xFFFF
EXPERIMENTERS = {0x00002320: "NICIRA", 0x4F4E4600: "ONF"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error message of the switch. `xid` is that of the message it is about."""

    xid: int
    kind: int
    code: int
    experimenter: int | None = None

    @property
    def name(self) -> str:
        """The name of the code in the OpenFlow specification, such as OFPBAC_BAD_OUT_GROUP.

        Extensions have no names in OpenFlow: they come out as OFPET_EXPERIMENTER/NICIRA/38 (see OVS's ofp-errors.h).
        """
        if self.experimenter is not None:
            vendor = EXPERIMENTERS.get(self.experimenter, f"{self.experimenter:#010x}")
            return f"OFPET_EXPERIMENTER/{vendor}/{self.code}"
        # Imported when the first error comes: os-ken is a tenth of a second of the agent's start.
        ofproto_v1_5 = importlib.import_module("os_ken.ofproto.ofproto_v1_5")
        code = str(ofproto_v1_5.ofp_error_code_to_str(self.kind, self.code)).partition("(")[0]
        if code != "Unknown":
            return code
        kind = str(ofproto_v1_5.ofp_error_type_to_str(self.kind)).partition("(")[0]
        return f"{self.kind if kind == 'Unknown' else kind}/{self.code}"


def refusal(xid: int, body: bytes) -> Refusal:
    """Read an OFPT_ERROR (OpenFlow 1.5.1, 7.5.4). Raises struct.error if it is cut off."""
    kind, code = struct.unpack_from("!HH", body)
    experimenter = struct.unpack_from("!I", body, 4)[0] if kind == OFPET_EXPERIMENTER else None
    return Refusal(xid, kind, code, experimenter)
