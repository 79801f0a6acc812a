"""The blocking client; the asyncio one is used by all the other tests."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest

from ofctl.api import paging
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
from tests.functional.api.conftest import settings
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


async def test_waiting_goes_on_when_the_agent_is_replaced(engine: MemoryEngine, rundir: Path) -> None:
    first = ApiServer(engine, settings(rundir / "api.sock"))
    await first.start()
    with Client(f"unix:{rundir}/api.sock") as blocking:
        async with AsyncClient(f"unix:{rundir}/api.sock") as client:
            await client.host()
            waiting = asyncio.gather(
                client.wait_until_ready(timeout_s=10), asyncio.to_thread(blocking.wait_until_ready, timeout_s=10)
            )
            async with asyncio.timeout(5):
                while first._health._watcher_count_by_service.get("", 0) < 2:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.01)
            await first.stop(0)
            second = ApiServer(engine, settings(rundir / "api.sock"))
            await second.start()
            assert not waiting.done()
            second.set_serving(True)
            await waiting
            await second.stop(0)


async def test_listings_go_on_over_pages(
    server: ApiServer, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "DEFAULT_PAGE", 2)
    names = ["a", "b", "c", "d", "e"]
    for name in names:
        await client.apply_network(Network(network_id=name))
        await client.plug(PortSpec(port_id=name, network_id=name, vm=VmConsumer()))
    assert [port.spec.port_id async for port in client.ports()] == names
    assert [network.network_id async for network in client.networks()] == [*names[:2], "blue", *names[2:]]
    with Client(client.target) as blocking:
        assert [port.spec.port_id for port in await asyncio.to_thread(lambda: list(blocking.ports()))] == names
        networks = await asyncio.to_thread(lambda: list(blocking.networks()))
    assert [network.network_id for network in networks] == [*names[:2], "blue", *names[2:]]


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
