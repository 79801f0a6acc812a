"""The blocking client; the asyncio one is used by all the other tests."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest

from ofctl.api.server import ApiServer
from ofctl.client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    InvalidArgument,
    Network,
    NotFound,
    Outcome,
    PortSpec,
    Subnet,
    VmConsumer,
)
from tests.functional.api.memory import MemoryEngine


def use_all_of(client: Client) -> None:
    client.wait_until_ready(timeout_s=5)
    assert client.apply_network(Network(network_id="red", subnets=[Subnet(cidr="192.0.2.0/24")])).mtu == 1500
    port = client.plug(PortSpec(port_id="a", network_id="red", vm=VmConsumer()), request_id="r1")
    assert port.vif_details.tap.device_name and port.confirmation.ofport
    more = [PortSpec(port_id=name, network_id="red", vm=VmConsumer()) for name in ("c", "b")]
    assert [port.spec.port_id for port in client.plug_all(more)] == ["c", "b"]
    assert [port.spec.port_id for port in client.ports(network_id="red")] == ["a", "b", "c"]
    assert client.port("a").request_id == "r1"
    assert client.request("r1").request.outcome == Outcome.OUTCOME_CONFIRMED
    assert client.network("red").network_id == "red"
    assert [network.network_id for network in client.networks()] == ["red"]
    assert client.host().port_count == 3
    for name in ("a", "b", "c"):
        client.unplug(name)
    client.unplug("a", missing_ok=True)
    with pytest.raises(NotFound):
        client.unplug("a")
    client.delete_network("red")
    client.delete_network("red", missing_ok=True)
    with pytest.raises(NotFound):
        client.delete_network("red")
    with pytest.raises(InvalidArgument) as caught:
        client.plug(PortSpec(port_id="a", network_id="red", mac_address="x", vm=VmConsumer()), request_id="r2")
    assert (caught.value.field, caught.value.request_id) == ("port.mac_address", "r2")


async def test_every_call_of_the_blocking_client(server: ApiServer, rundir: Path) -> None:
    with Client(f"unix:{rundir}/api.sock", timeout_s=10) as client:
        await asyncio.to_thread(use_all_of, client)


async def test_waiting_for_an_agent_that_comes_later(engine: MemoryEngine, server: ApiServer, rundir: Path) -> None:
    server.set_serving(False)
    with Client(f"unix:{rundir}/api.sock") as client:
        with pytest.raises(DeadlineExceeded):
            await asyncio.to_thread(client.wait_until_ready, timeout_s=0.1)
        waiting = asyncio.create_task(asyncio.to_thread(client.wait_until_ready, timeout_s=10))
        server.set_serving(True)
        await waiting


def test_both_clients_have_the_same_calls() -> None:
    def calls(client: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(function).parameters)
            for name, function in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_")
        }

    assert calls(Client) == calls(AsyncClient)


def test_the_target_is_the_argument_then_the_environment_then_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OFCTL_CONNECT", raising=False)
    with Client() as client:
        assert client.target == "unix:/run/ofctl/ofctl.sock"
    monkeypatch.setenv("OFCTL_CONNECT", "unix:/tmp/env.sock")
    with Client() as client:
        assert client.target == "unix:/tmp/env.sock"
    with Client("localhost:1") as client:
        assert client.target == "localhost:1"
