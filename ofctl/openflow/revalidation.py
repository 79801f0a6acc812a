"""The DATAPATH level: nothing cached in the datapath forwards by tables of before."""

from __future__ import annotations

from pathlib import Path

from ofctl.openflow.switch import Switch

SCRATCH_TABLE = 253
"""Reached by no packet; a flow put in it and taken out again makes the revalidators run now."""


class Revalidators:
    """The revalidator threads of the ovs-vswitchd whose run directory this is."""

    def __init__(self, rundir: Path, switch: Switch) -> None:
        self.rundir = rundir
        self.switch = switch

    async def settle(self, *, deadline: float) -> None:
        """Return when every megaflow has been checked against the tables as they were when this was called, or newer.

        Raises SwitchUnavailable if ovs-vswitchd is not there or goes away, DeadlineExceeded.
        """
        raise NotImplementedError
