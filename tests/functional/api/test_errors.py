"""Each error of ofctl arrives as code and details, and the client raises it with all that was said."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from ofctl import client as ofctl_client
from ofctl import errors
from ofctl.client import ApiError, AsyncClient, DeadlineExceeded, Internal, PortSpec, Unavailable, VmConsumer
from ofctl.engine.contract import PlugRequest
from ofctl.v1 import port_pb2, port_pb2_grpc
from tests.functional.api.memory import MemoryEngine

WEB = PortSpec(port_id="web", network_id="blue", vm=VmConsumer())

RAISED = [
    (errors.InvalidField("port.mtu", "is too big"), "INVALID_ARGUMENT", {"BadRequest"}),
    (
        errors.Refused("no uplink", reason="NO_UPLINK", subject="port.network_id"),
        "FAILED_PRECONDITION",
        {"PreconditionFailure"},
    ),
    (errors.NotFound("no such network"), "NOT_FOUND", set()),
    (errors.AlreadyExists("another spec"), "ALREADY_EXISTS", set()),
    (errors.PermissionDenied("uid:7 plugged it"), "PERMISSION_DENIED", set()),
    (errors.NotSupported("reserved"), "UNIMPLEMENTED", set()),
    (errors.ResourceExhausted("1000 ports are plugged"), "RESOURCE_EXHAUSTED", {"RetryInfo"}),
    (errors.Aborted("an unplug overtook it"), "ABORTED", set()),
    (errors.Cancelled("gone"), "CANCELLED", set()),
    (errors.DeadlineExceeded("late", metadata={"outcome": "absent"}), "DEADLINE_EXCEEDED", {"RetryInfo"}),
    (errors.ConfigError("bad option"), "FAILED_PRECONDITION", set()),
    (errors.AppRefused("quiet", "is not there"), "FAILED_PRECONDITION", set()),
    (errors.DriverError("it did not"), "INTERNAL", set()),
    (errors.AppFailed("quiet", "made no flows"), "INTERNAL", set()),
    (errors.BinderFailed("no answer", retry_after_ms=1), "UNAVAILABLE", {"RetryInfo"}),
    (errors.DeviceError("EPERM", stage="device"), "INTERNAL", set()),
    (errors.AttachError("ofport -1", stage="attachment"), "INTERNAL", set()),
    (errors.SwitchRejected("bad group", metadata={"of_error": "OFPBAC_BAD_OUT_GROUP"}), "INTERNAL", set()),
    (errors.Unavailable("no database", retry_after_ms=1), "UNAVAILABLE", {"RetryInfo"}),
    (errors.SwitchUnavailable("no switch", retry_after_ms=1), "UNAVAILABLE", {"RetryInfo"}),
    (errors.OutcomeUnknown("no answer", retry_after_ms=1), "UNAVAILABLE", {"RetryInfo"}),
    (errors.OfctlError("plain"), "INTERNAL", set()),
]


def raising(error: Exception) -> Callable[[PlugRequest], Awaitable[None]]:
    async def before_plug(request: PlugRequest) -> None:
        raise error

    return before_plug


def every_class(base: type[errors.OfctlError] = errors.OfctlError) -> set[type[errors.OfctlError]]:
    """Of ofctl.errors: what a driver derives for itself never reaches a caller."""
    children = [child for child in base.__subclasses__() if child.__module__ == errors.__name__]
    return {base}.union(*map(every_class, children))


def test_the_table_has_every_class() -> None:
    assert {type(error) for error, _, _ in RAISED} == every_class()


@pytest.mark.parametrize(("error", "code", "kinds"), RAISED, ids=lambda value: type(value).__name__)
async def test_each_class_has_its_code_and_details(
    client: AsyncClient, engine: MemoryEngine, error: errors.OfctlError, code: str, kinds: set[str]
) -> None:
    engine.before_plug = raising(error)
    async with grpc.aio.insecure_channel(client.target) as channel:
        call = port_pb2_grpc.PortServiceStub(channel).PlugPort(port_pb2.PlugPortRequest(port=WEB, request_id="r1"))
        assert (await call.code()).name == code == error.code
        assert await call.details() == error.message
        trailers = dict(await call.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert status.message == error.message and status.code == grpc.StatusCode[code].value[0]
    assert {detail.TypeName().split(".")[-1] for detail in status.details} == {"ErrorInfo", *kinds}
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain, info.metadata["request_id"]) == (error.reason, "ofctl", "r1")
    assert error.stage is None or info.metadata["stage"] == error.stage
    assert ("grpc-retry-pushback-ms" in trailers) == error.retryable


@pytest.mark.parametrize(("error", "code", "kinds"), RAISED, ids=lambda value: type(value).__name__)
async def test_the_client_raises_it_again(
    client: AsyncClient, engine: MemoryEngine, error: errors.OfctlError, code: str, kinds: set[str]
) -> None:
    engine.before_plug = raising(error)
    expected = getattr(ofctl_client, "".join(word.capitalize() for word in code.split("_")))
    with pytest.raises(expected) as caught:
        await client.plug(WEB, request_id="r1")
    raised: ApiError = caught.value
    assert type(raised) is expected
    assert (str(raised), raised.code.name, raised.reason) == (error.message, code, error.reason)
    assert raised.request_id == "r1"
    assert raised.stage == (error.stage or "") and raised.subject == (error.subject or "")
    assert raised.field == (error.field if isinstance(error, errors.InvalidField) else "")
    assert (raised.retry_after_s is not None) == error.retryable
    outcomes = {errors.DeadlineExceeded: "ABSENT", errors.OutcomeUnknown: "UNKNOWN"}
    assert raised.outcome == outcomes.get(type(error), "")


async def test_what_the_switch_said_arrives(client: AsyncClient, engine: MemoryEngine) -> None:
    engine.before_plug = raising(
        errors.SwitchRejected("refused", metadata={"of_error": "OFPBAC_BAD_OUT_GROUP", "change": "table=0" * 1000})
    )
    with pytest.raises(Internal) as caught:
        await client.plug(WEB)
    assert caught.value.metadata["of_error"] == "OFPBAC_BAD_OUT_GROUP"
    assert caught.value.metadata["change"].startswith("table=0") and len(caught.value.metadata["change"]) < 700


async def test_a_defect_is_internal_with_an_id_that_the_log_has(
    client: AsyncClient, engine: MemoryEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.before_plug = raising(ZeroDivisionError("secret detail"))
    with caplog.at_level(logging.ERROR, "ofctl"), pytest.raises(Internal) as caught:
        await client.plug(WEB)
    assert caught.value.error_id and caught.value.error_id in str(caught.value)
    assert "secret detail" not in str(caught.value)
    assert caught.value.error_id in caplog.text and "ZeroDivisionError: secret detail" in caplog.text


async def test_a_timeout_inside_is_a_defect_and_no_deadline(
    client: AsyncClient, engine: MemoryEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.before_plug = raising(TimeoutError("inside"))
    with pytest.raises(Internal):
        await client.plug(WEB)


async def test_a_value_of_any_length_is_answered(client: AsyncClient) -> None:
    long = PortSpec(port_id="web", network_id="blue", mac_address="é" * 100_000, vm=VmConsumer())
    with pytest.raises(ofctl_client.InvalidArgument) as caught:
        await client.plug(long)
    assert caught.value.field == "port.mac_address"


async def test_unavailable_is_retried_with_the_same_request_id(client: AsyncClient, engine: MemoryEngine) -> None:
    failures = iter([errors.SwitchUnavailable("not connected", retry_after_ms=1)] * 2)

    async def fail_twice(request: PlugRequest) -> None:
        for failure in failures:
            raise failure

    engine.before_plug = fail_twice
    port = await client.plug(WEB)
    assert [plug.request_id for plug in engine.plugs] == [port.request_id] * 3


async def test_a_retry_is_given_up_after_four_attempts(client: AsyncClient, engine: MemoryEngine) -> None:
    engine.before_plug = raising(errors.SwitchUnavailable("not connected", retry_after_ms=1))
    with pytest.raises(Unavailable, match="not connected"):
        await client.plug(WEB)
    assert len(engine.plugs) == 4


async def test_other_errors_are_not_retried(client: AsyncClient, engine: MemoryEngine) -> None:
    engine.before_plug = raising(errors.AttachError("ofport -1"))
    with pytest.raises(Internal):
        await client.plug(WEB)
    assert len(engine.plugs) == 1


async def test_no_agent_is_unavailable(rundir: object) -> None:
    async with AsyncClient(f"unix:{rundir}/nobody.sock") as client:
        with pytest.raises(Unavailable):
            await client.host()


async def test_the_engine_stops_a_reserve_before_the_deadline(client: AsyncClient, engine: MemoryEngine) -> None:
    loop = asyncio.get_running_loop()
    for timeout_s, reserve in ((150.0, 0.2), (30.0, 0.2), (10.0, 0.2), (9.5, 0.2), (1.0, 0.1), (0.1, 0.02)):
        before = loop.time()
        await client.plug(WEB, timeout_s=timeout_s)
        after = loop.time()
        deadline = engine.plugs[-1].deadline
        rounding = timeout_s / 90
        assert before + timeout_s - reserve - rounding < deadline < after + timeout_s - reserve * 0.75


async def test_a_call_without_deadline_gets_the_default(client: AsyncClient, engine: MemoryEngine) -> None:
    async with grpc.aio.insecure_channel(client.target) as channel:
        await port_pb2_grpc.PortServiceStub(channel).PlugPort(port_pb2.PlugPortRequest(port=WEB))
    left = engine.plugs[-1].deadline - asyncio.get_running_loop().time()
    assert 19 < left <= 20


async def test_an_engine_that_keeps_no_deadline_is_cut_off_before_the_caller_gives_up(
    client: AsyncClient, engine: MemoryEngine
) -> None:
    async def hang(request: PlugRequest) -> None:
        await asyncio.Event().wait()

    engine.before_plug = hang
    with pytest.raises(DeadlineExceeded) as caught:
        await client.plug(WEB, timeout_s=0.5, request_id="r1")
    assert caught.value.reason == "DEADLINE_EXCEEDED", "the caller's own clock ran out before the answer came"
    assert (caught.value.outcome, caught.value.request_id) == ("ABSENT", "r1")


async def test_a_caller_that_goes_away_cancels_the_plug(client: AsyncClient, engine: MemoryEngine) -> None:
    begun = asyncio.Event()

    async def hang(request: PlugRequest) -> None:
        begun.set()
        await asyncio.Event().wait()

    engine.before_plug = hang
    plug = asyncio.create_task(client.plug(WEB))
    await asyncio.wait_for(begun.wait(), 5)
    plug.cancel()
    await asyncio.wait_for(engine.cancelled.wait(), 5)
    with pytest.raises(asyncio.CancelledError):
        await plug


async def test_a_connection_that_breaks_cancels_the_plug(client: AsyncClient, engine: MemoryEngine) -> None:
    begun = asyncio.Event()

    async def hang(request: PlugRequest) -> None:
        begun.set()
        await asyncio.Event().wait()

    engine.before_plug = hang
    other = AsyncClient(client.target)
    plug = asyncio.create_task(other.plug(WEB))
    await asyncio.wait_for(begun.wait(), 5)
    await other.close()
    await asyncio.wait_for(engine.cancelled.wait(), 5)
    with pytest.raises((asyncio.CancelledError, ApiError)):
        await plug
