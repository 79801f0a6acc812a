"""Who calls is what the kernel says, and the socket is nobody else's."""

from __future__ import annotations

import asyncio
import grp
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from ofctl.api.server import ApiServer
from ofctl.client import AsyncClient, Network, PortSpec, VmConsumer
from ofctl.errors import ConfigError
from ofctl.v1 import port_pb2, port_pb2_grpc
from tests.functional.api.conftest import settings
from tests.functional.api.memory import MemoryEngine

UID = 54_321
OTHER_GID = 54_322

CHILD = """
import os, socket, sys
import grpc
from ofctl.client import Client, PortSpec, VmConsumer
from ofctl.v1 import port_pb2, port_pb2_grpc
uid, gid, path, what = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
grpc.insecure_channel("unix:/nowhere").close()  # it imports the rest of grpc, which may be below /root
os.setgroups([])
os.setgid(gid)
os.setuid(uid)
if what == "inner":
    socket.socket(socket.AF_UNIX).connect(path)
with grpc.insecure_channel("unix:" + path) as channel:
    request = port_pb2.PlugPortRequest(port=PortSpec(port_id="web", network_id="blue", vm=VmConsumer()))
    forged = (("principal", "uid:0"), ("x-principal", "uid:0"), ("uid", "0"), ("authorization", "uid:0"))
    reply = port_pb2_grpc.PortServiceStub(channel).PlugPort(request, timeout=10, metadata=forged)
print(reply.port.principal)
"""


async def as_user(path: Path, *, uid: int = UID, gid: int = OTHER_GID, what: str = "plug") -> tuple[int, str, str]:
    """Plug from a process of another user; return its exit status and output."""
    argv = [sys.executable, "-c", CHILD, str(uid), str(gid), str(path), what]
    child = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = await asyncio.wait_for(child.communicate(), 20)
    assert child.returncode is not None
    return child.returncode, output.decode().strip(), errors.decode()


async def test_the_principal_is_the_uid_of_the_peer_whatever_it_claims(
    client: AsyncClient, engine: MemoryEngine, rundir: Path
) -> None:
    assert (await as_user(rundir / "api.sock"))[:2] == (0, f"uid:{UID}")
    assert (await client.plug(PortSpec(port_id="p", network_id="blue", vm=VmConsumer()))).principal == "uid:0"
    assert (await as_user(rundir / "api.sock", uid=UID + 1))[1] == f"uid:{UID + 1}"
    assert [(plug.principal, plug.admin) for plug in engine.plugs] == [
        (f"uid:{UID}", False),
        ("uid:0", True),
        (f"uid:{UID + 1}", False),
    ]


async def test_admins_may_be_configured(engine: MemoryEngine, open_rundir: Path) -> None:
    server = ApiServer(engine, settings(open_rundir / "api.sock", mode=0o666), admin_uids=[UID])
    await server.start()
    try:
        await as_user(open_rundir / "api.sock")
        assert [(plug.principal, plug.admin) for plug in engine.plugs] == [(f"uid:{UID}", True)]
    finally:
        await server.stop(0)


async def test_nobody_gets_past_the_door_to_a_server_of_another_uid(client: AsyncClient, rundir: Path) -> None:
    inner = rundir / "api.sock.peers"
    assert [path.name for path in inner.iterdir()] == ["0"]
    assert stat.S_IMODE(inner.stat().st_mode) == 0o700
    status, _, errors = await as_user(inner / "0", what="inner")
    assert status != 0 and "PermissionError" in errors


async def test_the_socket_is_for_its_group_alone(engine: MemoryEngine, open_rundir: Path) -> None:
    group = grp.getgrnam("nogroup")
    path = open_rundir / "deep" / "down" / "api.sock"
    server = ApiServer(engine, settings(path, group="nogroup"))
    await server.start()
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660 and path.stat().st_gid == group.gr_gid
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
        await engine.apply_network_for_tests("blue")
        assert (await as_user(path, gid=group.gr_gid))[:2] == (0, f"uid:{UID}")
        status, _, errors = await as_user(path)
        assert status != 0 and "Permission denied" in errors
    finally:
        await server.stop(0)
    assert [entry.name for entry in path.parent.iterdir()] == ["api.sock.lock"]


async def test_an_unknown_group_is_refused(engine: MemoryEngine, rundir: Path) -> None:
    with pytest.raises(ConfigError, match="socket_group is 'no-such-group'"):
        await ApiServer(engine, settings(rundir / "api.sock", group="no-such-group")).start()
    assert not (rundir / "api.sock.peers").exists()


async def test_a_second_agent_is_refused_and_the_first_serves_on(
    client: AsyncClient, engine: MemoryEngine, rundir: Path
) -> None:
    with pytest.raises(ConfigError, match="another agent listens"):
        await ApiServer(engine, settings(rundir / "api.sock")).start()
    assert (await client.network("blue")).network_id == "blue"


async def test_a_socket_that_another_program_listens_on_is_left_alone(engine: MemoryEngine, rundir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(rundir / "api.sock"))
        other.listen()
        with pytest.raises(ConfigError, match="another process listens"):
            await ApiServer(engine, settings(rundir / "api.sock")).start()
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(rundir / "api.sock"))


async def test_what_a_killed_agent_left_is_taken_over(engine: MemoryEngine, rundir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(rundir / "api.sock"))
    (rundir / "api.sock.peers").mkdir(mode=0o777)
    (rundir / "api.sock.peers" / "0").touch()
    server = ApiServer(engine, settings(rundir / "api.sock"))
    await server.start()
    try:
        async with AsyncClient(f"unix:{rundir}/api.sock") as client:
            assert (await client.host()).ready
        assert stat.S_IMODE((rundir / "api.sock.peers").stat().st_mode) == 0o700
    finally:
        await server.stop(0)


async def test_a_file_in_the_place_of_the_socket_is_refused(engine: MemoryEngine, rundir: Path) -> None:
    (rundir / "api.sock").write_text("precious")
    with pytest.raises(ConfigError, match="is no socket"):
        await ApiServer(engine, settings(rundir / "api.sock")).start()
    assert (rundir / "api.sock").read_text() == "precious"


async def test_a_path_too_long_for_the_sockets_behind_it_is_refused(engine: MemoryEngine, rundir: Path) -> None:
    path = rundir / ("x" * (95 - len(str(rundir))))
    with pytest.raises(ConfigError, match="bytes too long"):
        await ApiServer(engine, settings(path)).start()


async def test_callers_that_vanish_leave_no_descriptor(client: AsyncClient, rundir: Path) -> None:
    await client.host()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        _, writer = await asyncio.open_unix_connection(str(rundir / "api.sock"))
        writer.transport.abort()
    for _ in range(20):
        async with AsyncClient(client.target) as other:
            await other.host()
    async with asyncio.timeout(5):
        while len(os.listdir("/proc/self/fd")) > before:  # noqa: ASYNC110 - the kernel sends no event for that
            await asyncio.sleep(0.01)


async def test_a_client_outlives_a_restart_of_the_agent(engine: MemoryEngine, rundir: Path) -> None:
    async with AsyncClient(f"unix:{rundir}/api.sock", timeout_s=10) as client:
        for _ in range(3):
            server = ApiServer(engine, settings(rundir / "api.sock"))
            await server.start()
            server.set_serving(True)
            await client.wait_until_ready()
            await client.apply_network(Network(network_id="blue"))
            await server.stop(0)


async def test_tcp_callers_are_anonymous_and_no_admins(engine: MemoryEngine, rundir: Path) -> None:
    server = ApiServer(engine, settings(rundir / "api.sock", listen="127.0.0.1:0"))
    await server.start()
    try:
        await engine.apply_network_for_tests("blue")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.tcp_port}") as channel:
            request = port_pb2.PlugPortRequest(port=PortSpec(port_id="web", network_id="blue", vm=VmConsumer()))
            await port_pb2_grpc.PortServiceStub(channel).PlugPort(request, metadata=(("principal", "uid:0"),))
        assert [(plug.principal, plug.admin) for plug in engine.plugs] == [("tcp:anonymous", False)]
        address = f"127.0.0.1:{server.tcp_port}"
        with pytest.raises(ConfigError, match=rf"cannot listen on {address}"):
            await ApiServer(engine, settings(rundir / "other.sock", listen=address)).start()
    finally:
        await server.stop(0)


async def test_no_tcp_port_is_open_unless_configured(server: ApiServer) -> None:
    assert server.tcp_port is None


def test_the_mode_of_a_socket_before_bind_is_that_of_its_file(rundir: Path) -> None:
    """What the door relies on: nobody can connect between bind() and chown(), chmod()."""
    before = os.umask(0)
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            os.fchmod(probe.fileno(), 0o600)
            probe.bind(str(rundir / "probe.sock"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((rundir / "probe.sock").stat().st_mode) == 0o600


def test_sigkill_frees_the_lock(rundir: Path) -> None:
    script = (
        "import fcntl, os, sys, time\n"
        "from pathlib import Path\n"
        "from ofctl.api.peers import PeerDoor\n"
        "door = PeerDoor(Path(sys.argv[1]), mode=0o660, group='')\n"
        "door._claim()\n"
        "print('locked', flush=True)\n"
        "time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(rundir / "api.sock")], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"locked\n"

    async def start_and_stop() -> None:
        server = ApiServer(MemoryEngine(), settings(rundir / "api.sock"))
        try:
            await server.start()
        finally:
            await server.stop(0)

    with pytest.raises(ConfigError, match="another agent"):
        asyncio.run(start_and_stop())
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    child.stdout.close()
    asyncio.run(start_and_stop())
