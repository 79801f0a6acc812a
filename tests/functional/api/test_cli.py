"""The command line against a real server, as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ofctl import errors
from ofctl.client import AsyncClient, PortSpec, VmConsumer
from ofctl.engine.contract import PlugRequest
from ofctl.model.audit import Finding, FindingKind
from ofctl.model.ids import PortId
from tests.functional.api.memory import MemoryEngine


class Done(NamedTuple):
    status: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        return json.loads(self.output)


Ofctl = Callable[..., Awaitable[Done]]


async def start(*arguments: str, environment: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    """Start `ofctl` with `arguments`."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from ofctl.cli.main import main; main()",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )


async def run(*arguments: str, environment: dict[str, str] | None = None) -> Done:
    """Run `ofctl` with `arguments` until it ends."""
    child = await start(*arguments, environment=environment)
    output, complaint = await asyncio.wait_for(child.communicate(), 30)
    assert child.returncode is not None
    return Done(child.returncode, output.decode(), complaint.decode())


@pytest.fixture
def ofctl(client: AsyncClient) -> Ofctl:
    """Run `ofctl` against the server of the test."""

    async def run_connected(*arguments: str) -> Done:
        return await run(*arguments, environment={"OFCTL_CONNECT": client.target})

    return run_connected


def raising(error: Exception) -> Callable[[PlugRequest], Awaitable[None]]:
    async def before_plug(request: PlugRequest) -> None:
        raise error

    return before_plug


async def test_a_port_from_network_to_unplug(ofctl: Ofctl, engine: MemoryEngine) -> None:
    done = await ofctl("network", "apply", "red", "--subnet", "198.51.100.0/24,198.51.100.1", "--mtu", "1400")
    assert done.status == 0
    assert re.search(r"^subnet +198.51.100.0/24, gateway 198.51.100.1$", done.output, re.MULTILINE)
    done = await ofctl("port", "plug", "web", "--network", "red", "--vm", "--ip", "198.51.100.7", "--label", "a=b")
    assert done.status == 0 and done.errors == ""
    assert "active" in done.output and "198.51.100.7" in done.output and "datapath," in done.output
    done = await ofctl("port", "list", "-o", "json")
    assert [port["spec"]["port_id"] for port in done.json] == ["web"]
    assert done.json[0]["confirmation"]["level"] == "CONFIRMATION_LEVEL_DATAPATH"
    assert done.json[0]["spec"]["labels"] == {"a": "b"}
    done = await ofctl("port", "list")
    assert done.output.splitlines()[0].split()[:4] == ["PORT", "NETWORK", "STATE", "DEVICE"]
    assert done.output.splitlines()[1].split()[:3] == ["web", "red", "active"]
    done = await ofctl("port", "unplug", "web")
    assert (done.status, done.output) == (0, "port web is gone\n")
    assert (await ofctl("network", "delete", "red")).output == "network red is gone\n"
    assert not engine.ports()


async def test_every_option_of_plug_arrives(ofctl: Ofctl, engine: MemoryEngine) -> None:
    done = await ofctl(
        *("port", "plug", "ns", "--network", "blue", "--netns", "web", "--interface", "net0"),
        *("--address", "192.0.2.7/24", "--route", "0.0.0.0/0,192.0.2.1", "--route", "::/0", "--ip", "192.0.2.7"),
        *("--mac", "52:54:00:00:00:07", "--mtu", "1400", "--device", "veth7", "--project", "p", "--device-id", "d"),
        *("--device-owner", "o", "--vif-type", "veth", "--level", "readback", "--keep-trying", "--request-id", "r1"),
        *("--host", "host-1", "-o", "json"),
    )
    assert done.status == 0, done.errors
    spec = done.json["spec"]
    assert spec["namespace"]["netns_path"] == "/run/netns/web" and spec["namespace"]["interface_name"] == "net0"
    assert spec["namespace"]["routes"][0] == {"destination": "0.0.0.0/0", "via": "192.0.2.1"}
    request = engine.plugs[0]
    assert (request.request_id, request.level.name, request.specs[0].recovery.name) == ("r1", "READBACK", "KEEP_TRYING")
    assert (spec["mac_address"], spec["mtu"], spec["device_name"]) == ("52:54:00:00:00:07", 1400, "veth7")
    done = await ofctl(
        "port", "plug", "vm", "--network", "blue", "--vm", "--owner-uid", "0", "--multi-queue", "-o", "json"
    )
    assert done.json["spec"]["vm"] == {"owner_uid": 0, "multi_queue": True}
    done = await ofctl("port", "plug", "c", "--network", "blue", "--container", "/proc/1/ns/net", "-o", "json")
    assert done.json["spec"]["container"]["netns_path"] == "/proc/1/ns/net"


async def test_validate_only_plugs_nothing(ofctl: Ofctl, engine: MemoryEngine) -> None:
    done = await ofctl("port", "plug", "web", "--network", "blue", "--vm", "--validate-only")
    assert done.status == 0 and "not yet" in done.output and not engine.ports()


async def test_show_a_port_and_a_request(ofctl: Ofctl) -> None:
    await ofctl("port", "plug", "web", "--network", "blue", "--vm", "--request-id", "r1")
    done = await ofctl("port", "show", "web")
    assert done.status == 0 and "ofport 1" in done.output and "switch checksum offload off" in done.output
    assert "device 0.9 ms flows 1.5 ms" in done.output
    done = await ofctl("port", "show", "--request", "r1")
    assert "confirmed" in done.output and "ofport 1" in done.output
    await ofctl("port", "unplug", "web")
    assert "not there" in (await ofctl("port", "show", "--request", "r1")).output
    assert (await ofctl("port", "show", "web")).status == 4


async def test_the_ports_of_a_request_are_shown(ofctl: Ofctl, client: AsyncClient) -> None:
    specs = [PortSpec(port_id=name, network_id="blue", vm=VmConsumer()) for name in ("b", "a")]
    await client.plug_all(specs, request_id="r1")
    done = await ofctl("port", "show", "--request", "r1")
    assert done.status == 0 and re.findall(r"^port +(.+) on host", done.output, re.MULTILINE) == ["a b", "a", "b"]


async def test_verify_shows_the_frames(ofctl: Ofctl, client: AsyncClient, engine: MemoryEngine) -> None:
    await client.plug(PortSpec(port_id="web", network_id="blue", vm=VmConsumer()))
    done = await ofctl("port", "verify", "web", "--level", "probe")
    assert done.status == 0 and "pipeline (a guest holds the TAP open), 2" in done.output
    assert re.search(r"^frames +ARP request from the guest: at port 7, as expected$", done.output, re.MULTILINE)
    done = await ofctl("port", "verify", "web", "-o", "json")
    assert done.json["confirmation"]["ofport"] == 9 and done.json["confirmation"]["probe_frames"] == []
    assert [level.name for level in engine.verified] == ["PROBE", "DATAPATH"]
    assert (await ofctl("port", "verify", "nobody")).status == 4


async def test_a_generation_is_sent(ofctl: Ofctl, engine: MemoryEngine) -> None:
    assert (await ofctl("port", "plug", "web", "--network", "blue", "--vm", "--generation", "6")).status == 0
    assert (await ofctl("port", "unplug", "web", "--generation", "7")).status == 0
    assert (engine.plugs[0].generation, engine.unplugs[0].generation) == (6, 7)


async def test_watch_prints_each_event_at_once_until_it_is_interrupted(
    client: AsyncClient, engine: MemoryEngine
) -> None:
    environment = {"OFCTL_CONNECT": client.target, "PYTHONUNBUFFERED": ""}
    await client.plug(PortSpec(port_id="web", network_id="blue", vm=VmConsumer()))
    people = await start("port", "watch", "--network", "blue", environment=environment)
    program = await start("port", "watch", "-o", "json", environment=environment)
    assert people.stdout is not None and program.stdout is not None
    async with asyncio.timeout(20):
        line = (await people.stdout.readline()).split()
        assert line[:3] == [b"present", b"web", b"blue"] and line[4:] == [b"active"]
        assert await people.stdout.readline() == b"synced\n"
        first = json.loads(await program.stdout.readline())
        assert first["type"] == "EVENT_TYPE_PRESENT" and first["port"]["spec"]["port_id"] == "web"
        assert json.loads(await program.stdout.readline())["snapshot"]
        await client.unplug("web")
        assert (await people.stdout.readline()).split()[:2] == [b"removed", b"web"]
        gone = json.loads(await program.stdout.readline())
        assert (gone["type"], gone["epoch"], gone["revision"]) == ("EVENT_TYPE_REMOVED", engine.log.epoch, "2")
        for child in (people, program):
            child.send_signal(signal.SIGINT)
            assert [part.strip() for part in await child.communicate()] == [b"", b""]
            assert child.returncode == 0


async def test_audit_says_by_its_status_whether_something_is_left(ofctl: Ofctl, engine: MemoryEngine) -> None:
    done = await ofctl("audit")
    assert done.status == 0
    assert done.output == "0 ports, 2 devices, 3 rows, 40 flows and 5 groups compared: all as intended\n"
    foreign = Finding(kind=FindingKind.ROW_FOREIGN, subject="eth9")
    lost = Finding(kind=FindingKind.FLOW_MISSING, subject="classify 100 in_port=7", port_id=PortId("web"))
    engine.findings = (lost, foreign)
    done = await ofctl("audit")
    assert done.status == 11 and done.errors == ""
    assert done.output.splitlines()[1].split() == ["flow-missing", "web", "classify", "100", "in_port=7"]
    assert done.output.endswith("2 findings, 1 left\n")
    done = await ofctl("audit", "--repair", "-o", "json")
    assert done.status == 0 and [finding["repaired"] for finding in done.json["findings"]] == [True, True]
    engine.findings = (foreign,)
    assert (await ofctl("audit")).status == 0
    assert engine.audits == [False, False, True, False]


async def test_show_host(ofctl: Ofctl, engine: MemoryEngine) -> None:
    done = await ofctl("host", "show", "--wait")
    assert done.status == 0 and "br-int" in done.output and "foreign ports: eth9" in done.output
    engine.not_ready = ("the switch is not connected",)
    engine.counters = (("flows.mended", 3),)
    done = await ofctl("host", "show")
    assert re.search(r"^count flows.mended +3$", done.output, re.MULTILINE)
    assert done.status == 0 and "the switch is not connected" in done.output
    assert (await ofctl("host", "show", "-o", "json")).json["not_ready"] == ["the switch is not connected"]


EXITS: list[tuple[Exception, int, str]] = [
    (errors.InvalidField("port.mtu", "is too big"), 2, "ofctl: port.mtu: is too big\n"),
    (errors.Refused("no uplink; map it in the configuration"), 3, "ofctl: no uplink; map it in the configuration\n"),
    (errors.NotSupported("not built"), 3, "ofctl: not built\n"),
    (errors.NotFound("no such network"), 4, "ofctl: no such network\n"),
    (errors.AlreadyExists("another spec"), 5, "ofctl: another spec\n"),
    (errors.PermissionDenied("uid:7 plugged it"), 6, "ofctl: uid:7 plugged it\n"),
    (errors.SwitchUnavailable("no switch", retry_after_ms=10), 7, "ofctl: no switch; try again after 0.01 s\n"),
    (
        errors.DeadlineExceeded("late", stage="flows", metadata={"outcome": "absent"}),
        8,
        "ofctl: late (stage flows); nothing is left of it\n",
    ),
    (
        errors.DeadlineExceeded("late", metadata={"outcome": "unknown"}),
        8,
        "ofctl: late; what is there now is not known yet, ask with: ofctl port show --request r1\n",
    ),
    (errors.Aborted("an unplug overtook it"), 9, "ofctl: an unplug overtook it\n"),
    (errors.ResourceExhausted("full"), 10, "ofctl: full; try again after 0.2 s\n"),
    (errors.AttachError("ofport -1", stage="attachment"), 1, "ofctl: ofport -1 (stage attachment)\n"),
]


@pytest.mark.parametrize(("error", "status", "complaint"), EXITS, ids=lambda value: type(value).__name__)
async def test_exit_status_and_one_sentence(
    ofctl: Ofctl, engine: MemoryEngine, error: Exception, status: int, complaint: str
) -> None:
    engine.before_plug = raising(error)
    done = await ofctl("port", "plug", "web", "--network", "blue", "--vm", "--request-id", "r1")
    assert done == Done(status, "", complaint)


async def test_no_agent_says_so(rundir: Path) -> None:
    done = await run("host", "show", "--connect", f"unix:{rundir}/nobody.sock")
    assert done.status == 7 and done.output == ""
    assert done.errors.startswith(f"ofctl: no agent answers on unix:{rundir}/nobody.sock; start ofctl-agent, or name")


WRONG = [
    (("port", "plug", "web", "--network", "blue"), "one of --vm, --netns or --container"),
    (("port", "plug", "web", "--network", "blue", "--vm", "--netns", "x"), "one of --vm, --netns or --container"),
    (("port", "plug", "web", "--vm"), "--network"),
    (("port", "plug", "web", "--network", "blue", "--netns", "x", "--multi-queue"), "go with --vm"),
    (("port", "plug", "web", "--network", "blue", "--vm", "--route", "::/0"), "go with --netns or --container"),
    (("port", "plug", "web", "--network", "blue", "--vm", "--label", "x"), "KEY=VALUE"),
    (("port", "show"), "give PORT_ID or --request"),
    (("nonsense",), "No such command"),
]


@pytest.mark.parametrize(("arguments", "complaint"), WRONG)
async def test_a_wrong_command_line_is_2(arguments: tuple[str, ...], complaint: str) -> None:
    done = await run(*arguments)
    assert done.status == 2 and complaint in done.errors


async def test_half_of_tls_is_refused(ofctl: Ofctl) -> None:
    done = await run("host", "show", environment={"OFCTL_TLS_CA": "/nowhere"})
    assert done.status == 2 and "OFCTL_TLS_CERT, OFCTL_TLS_KEY" in done.errors
