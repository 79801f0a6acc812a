"""Groups, port security and updates on the command line, against a real server.

In the test's own process: `test_cli` shows that a process of its own is no different.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from ofctl import errors
from ofctl.cli.main import cli
from ofctl.client import AsyncClient, PortSpec, VmConsumer
from ofctl.engine.contract import UpdateRequest
from ofctl.model.ids import NetworkId
from ofctl.model.rule_text import rule_text
from ofctl.model.security import SecurityGroupId
from ofctl.model.vif import PluggedPort
from tests.functional.api.memory import MemoryEngine
from tests.functional.api.test_cli import Done, Ofctl

RULES = """\
# What the web servers let in.
in tcp 80-443                # from anywhere

in icmp type 8 from group web
"""


async def run(*arguments: str, target: str = "") -> Done:
    """Run `ofctl` with `arguments`."""
    result = await asyncio.to_thread(
        CliRunner().invoke, cli, list(arguments), env={"OFCTL_CONNECT": target}, prog_name="ofctl"
    )
    return Done(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def ofctl(client: AsyncClient) -> Ofctl:
    """Run `ofctl` against the server of the test."""

    async def run_connected(*arguments: str) -> Done:
        return await run(*arguments, target=client.target)

    return run_connected


async def plug(client: AsyncClient, *groups: str) -> None:
    await client.plug(
        PortSpec(port_id="web-1", network_id="blue", vm=VmConsumer(), fixed_ips=["192.0.2.7"], security_groups=groups)
    )


async def test_a_security_group_from_apply_to_delete(
    ofctl: Ofctl, client: AsyncClient, engine: MemoryEngine, tmp_path: Path
) -> None:
    await plug(client, "web")
    (tmp_path / "rules").write_text(RULES)
    done = await ofctl(
        *("security-group", "apply", "web", "--name", "Web", "--rule", "out udp 53 to address-group dns"),
        *("--rules", str(tmp_path / "rules"), "--member", "blue,192.0.2.99", "--level", "readback"),
    )
    assert done.status == 0, done.errors
    facts = [line.split(None, 1) for line in done.output.splitlines()]
    assert ["kind", "stateful"] in facts and ["members", "192.0.2.99 on network blue"] in facts
    assert ["rules", "egress udp 53 to address-group dns"] in facts
    assert re.search(r"^CONFIRMED PORT +HOST +LEVEL", done.output, re.MULTILINE)
    assert re.search(r"^web-1 +host-1 +readback +40 ", done.output, re.MULTILINE)
    group = engine.security_group(SecurityGroupId("web")).group
    written = ["egress udp 53 to address-group dns", "ingress tcp 80-443", "ingress icmp type 8 from group web"]
    assert [rule_text(rule) for rule in group.rules] == written
    done = await ofctl("security-group", "show", "web")
    assert done.status == 0 and all(rule in done.output for rule in written)
    done = await ofctl("security-group", "show", "web", "-o", "json")
    assert done.json["rules"][2]["remote_security_group_id"] == "web" and done.json["stateful"]
    done = await ofctl("security-group", "apply", "web", "--stateless", "-o", "json")
    assert not done.json["security_group"]["stateful"] and done.json["ports"][0]["port_id"] == "web-1"
    done = await ofctl("security-group", "list")
    assert [line.split() for line in done.output.splitlines()][1] == ["web", "stateless", "0", "0"]
    done = await ofctl("security-group", "delete", "web")
    assert done.status == 3 and "used by 1 ports" in done.errors
    await client.unplug("web-1")
    assert (await ofctl("security-group", "delete", "web")).output == "security group web is gone\n"
    assert (await ofctl("security-group", "delete", "web")).status == 4
    assert (await ofctl("security-group", "delete", "web", "--missing-ok", "-o", "json")).json == {}
    assert (await ofctl("security-group", "show", "web")).status == 4


async def test_an_address_group_from_apply_to_delete(ofctl: Ofctl, tmp_path: Path) -> None:
    (tmp_path / "addresses").write_text("192.0.2.0/24 # here\n\n2001:db8::9\n")
    done = await ofctl(
        *("address-group", "apply", "offices", "--name", "Offices", "--address", "198.51.100.7"),
        *("--addresses", str(tmp_path / "addresses")),
    )
    assert done.status == 0 and re.search(r"^addresses +198.51.100.7$", done.output, re.MULTILINE)
    found = (await ofctl("address-group", "show", "offices", "-o", "json")).json
    assert found["addresses"] == ["198.51.100.7", "192.0.2.0/24", "2001:db8::9"]
    assert (await ofctl("address-group", "show", "offices")).output.splitlines()[-1].split() == ["2001:db8::9"]
    done = await ofctl("address-group", "list")
    assert done.output.splitlines()[1].split() == ["offices", "Offices", "3"]
    assert (await ofctl("address-group", "delete", "offices")).output == "address group offices is gone\n"
    assert (await ofctl("address-group", "list", "-o", "json")).json == []


async def test_a_port_is_plugged_with_its_security_and_changed(ofctl: Ofctl, engine: MemoryEngine) -> None:
    done = await ofctl(
        *("port", "plug", "web-1", "--network", "blue", "--vm", "--ip", "192.0.2.7", "--no-port-security"),
        *("--security-group", "web", "--security-group", "db", "--label", "a=b"),
        *("--allowed-address", "192.0.2.9", "--allowed-address", "192.0.2.64/26,52:54:00:00:00:09"),
    )
    assert done.status == 0, done.errors
    facts = dict(re.findall(r"^(\S.*?)  +(.+)$", done.output, re.MULTILINE))
    assert facts["security groups"] == "web db" and facts["port security"] == "off" and facts["revision"] == "1"
    assert facts["allowed"] == "192.0.2.9 192.0.2.64/26,52:54:00:00:00:09"
    done = await ofctl(
        *("port", "update", "web-1", "--security-group", "db", "--no-allowed-address", "--no-label", "--project", "p"),
        *("--default-port-security", "--level", "barrier", "--request-id", "u1", "--generation", "4", "-o", "json"),
        *("--revision", "1"),
    )
    assert done.status == 0, done.errors
    spec = done.json["spec"]
    assert spec["security_groups"] == ["db"] and spec["allowed_address_pairs"] == [] and spec["labels"] == {}
    assert "port_security" not in spec and spec["project_id"] == "p" and spec["fixed_ips"] == ["192.0.2.7"]
    (update,) = engine.updates
    assert (update.level.name, update.request_id, update.generation, update.revision) == ("BARRIER", "u1", 4, 1)
    done = await ofctl("port", "update", "web-1", "--port-security", "--no-security-group", "--revision", "1")
    assert done.status == 9 and done.errors.endswith("not 1; all is as it was before\n")
    done = await ofctl("port", "update", "web-1", "--port-security", "--no-security-group")
    facts = dict(re.findall(r"^(\S.*?)  +(.+)$", done.output, re.MULTILINE))
    assert facts["port security"] == "on" and "security groups" not in facts


async def test_an_update_whose_outcome_nobody_knows(
    ofctl: Ofctl, client: AsyncClient, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(request: UpdateRequest) -> PluggedPort:
        raise errors.DeadlineExceeded("late", metadata={"outcome": "unknown"})

    monkeypatch.setattr(engine, "update", lost)
    done = await ofctl("port", "update", "web-1", "--no-label", "--request-id", "u1")
    assert done.status == 8
    assert done.errors == "ofctl: late; what is there now is not known yet, ask with: ofctl port show --request u1\n"


async def test_the_switches_of_a_network(ofctl: Ofctl, engine: MemoryEngine) -> None:
    off = ("--no-port-security", "--no-neighbor-replies", "--no-flood-unknown-neighbors")
    done = await ofctl("network", "apply", "red", *off)
    assert [line.split()[-1] for line in done.output.splitlines()[-3:]] == ["off", "off", "dropped"]
    red = engine.network(NetworkId("red")).network
    assert not (red.port_security or red.neighbor_replies or red.flood_unknown_neighbors)
    done = await ofctl("network", "apply", "red", "-o", "json")
    assert done.json["port_security"] and done.json["neighbor_replies"] and done.json["flood_unknown_neighbors"]


WRONG = [
    (("port", "update", "a"), "say what to change"),
    (("port", "update", "a", "--ip", "192.0.2.1", "--no-ip"), "--ip and --no-ip exclude each other"),
    (("port", "update", "a", "--no-port-security", "--default-port-security"), "goes with neither"),
    (("port", "update", "a", "--label", "x"), "KEY=VALUE"),
    (
        ("security-group", "apply", "a", "--rule", "tcp 80"),
        "--rule: 'tcp 80': rule: 'tcp 80' does not begin with in or",
    ),
    (("security-group", "apply", "a", "--rule", "in tcp x from y"), "not understood from 'x' on"),
    (("security-group", "apply", "a", "--member", "192.0.2.1"), "write NETWORK,ADDRESS"),
]


@pytest.mark.parametrize(("arguments", "complaint"), WRONG)
async def test_a_wrong_command_line_is_2(arguments: tuple[str, ...], complaint: str) -> None:
    done = await run(*arguments)
    assert done.status == 2 and complaint in " ".join(done.errors.split())


async def test_a_wrong_rule_in_a_file_is_told_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("# first\nin tcp 80\nin tpc 80\n")
    done = await run("security-group", "apply", "a", "--rules", str(tmp_path / "rules"))
    assert done.status == 2 and "--rules, line 3: 'in tpc 80': rule.protocol: 'tpc' is no IP" in done.errors
