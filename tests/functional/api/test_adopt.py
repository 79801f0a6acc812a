"""`ofctl bridge adopt` on a real switch."""

from __future__ import annotations

from click.testing import CliRunner, Result

from ofctl.cli.main import cli
from ofctl.sandbox.ovs import PrivateOvs


def adopt(ovs: PrivateOvs, *arguments: str) -> Result:
    options = ["--db", ovs.database.connection, "--host-id", "host-1", "--timeout", "20"]
    return CliRunner().invoke(cli, ["bridge", "adopt", *options, *arguments], prog_name="ofctl")


def test_a_bridge_is_adopted_after_a_dry_run(ovs: PrivateOvs) -> None:
    ovs.vsctl("add-br", "br7", "--", "set", "bridge", "br7", "datapath_type=netdev")
    ovs.vsctl("add-port", "br7", "other", "--", "set", "interface", "other", "type=internal")
    before = ovs.vsctl("list", "bridge", "br7")
    done = adopt(ovs, "br7", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "fail_mode" in done.output and "port other is not ofctl's; it stays" in done.output
    assert done.output.endswith("bridge br7 would change so; nothing was done (--dry-run)\n")
    assert ovs.vsctl("list", "bridge", "br7") == before
    done = adopt(ovs, "br7")
    assert done.exit_code == 0 and done.output.endswith("bridge br7 is adopted\n"), done.output
    assert ovs.vsctl("get", "bridge", "br7", "fail_mode").strip() == "secure"
    assert "host-1" in ovs.vsctl("get", "bridge", "br7", "external_ids")
    assert "other" in ovs.vsctl("list-ports", "br7").split()
    assert adopt(ovs, "br7").output.endswith("bridge br7 was adopted already\n")
    assert adopt(ovs, "br7", "--dry-run").output.endswith("nothing to do\n")


def test_a_bridge_that_is_not_there(ovs: PrivateOvs) -> None:
    done = adopt(ovs, "br9")
    assert done.exit_code == 4 and done.stderr.startswith("ofctl: ") and "br9" in done.stderr


def test_no_database(ovs: PrivateOvs) -> None:
    ovs.database.stop()
    done = adopt(ovs, "br7", "--timeout", "0.5")
    assert done.exit_code == 7 and done.stderr.startswith("ofctl: ")
