"""The private switch starts, answers and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

from ofctl.sandbox.ovs import PrivateOvs


def test_private_switch_makes_a_bridge_that_answers(ovs: PrivateOvs) -> None:
    ovs.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "protocols=OpenFlow15")
    assert "OFPT_FEATURES_REPLY" in ovs.ovs_ofctl("show", "br0")
    assert ovs.appctl("revalidator/wait") == ""


def test_stop_ends_both_daemons(netns: None, rundir: Path) -> None:
    switch = PrivateOvs(rundir)
    switch.start()
    assert switch.vswitchd is not None and switch.database.child is not None
    pids = [switch.vswitchd.pid, switch.database.child.pid]
    switch.stop()
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
