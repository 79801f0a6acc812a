"""A sandbox whose agent has guests, and hosts on the guests' bridges."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from ofctl.client import Client, ConfirmationLevel, NamespaceConsumer, Network, PortSpec, Subnet
from ofctl.sandbox.ovs import PrivateOvs
from ofctl.sandbox.sandbox import Sandbox
from ofctl.v1.host_pb2 import App, AppState
from tests.functional.engine.lab import Namespace

EXAMPLES = Path(__file__).parents[3] / "examples" / "guests"
TIMEOUT_S = 15.0


class GuestLab:
    """A running sandbox with guests, by name; each is on bridge `br-NAME`."""

    def __init__(self, sandbox: Sandbox, stack: ExitStack, loaded: dict[str, object]) -> None:
        """`loaded` is the agent's group [apps]."""
        self.sandbox = sandbox
        self.client = stack.enter_context(Client(sandbox.target))
        self._stack = stack
        self._loaded = loaded
        self._numbers = itertools.count(1)

    def app(self, name: str) -> App:
        """Return what GetHost says of a guest."""
        return next(app for app in self.client.host().apps if app.name == name)

    def wait_for(self, name: str, seen: Callable[[App], bool], *, timeout_s: float = TIMEOUT_S) -> App:
        """Return what GetHost says of a guest once that is so."""
        deadline = time.monotonic() + timeout_s
        while not seen(app := self.app(name)):
            assert time.monotonic() < deadline, f"{app}\n{self.log()}"
            time.sleep(0.05)
        return app

    def running(self, name: str) -> App:
        """Return when the guest runs and the switch has a flow of it."""
        return self.wait_for(name, lambda app: app.state == AppState.APP_STATE_RUNNING and app.flows > 0)

    def wait_for_log(self, *texts: str, timeout_s: float = TIMEOUT_S) -> None:
        """Return when each of the texts is in the log of the agent and the guests."""
        deadline = time.monotonic() + timeout_s
        while missing := [text for text in texts if text not in self.sandbox.agent_log.read_text(errors="replace")]:
            assert time.monotonic() < deadline, f"{missing}\n{self.log()}"
            time.sleep(0.02)

    def host(self, bridge: str, *settings: str) -> tuple[Namespace, str]:
        """Put a host on a bridge, with settings of the port such as `tag=5`; return its namespace and address."""
        number = next(self._numbers)
        namespace = self._stack.enter_context(Namespace())
        device, address = f"h{number}", f"10.9.0.{number}"
        pid = namespace.path.split("/")[2]
        run("ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", pid)
        namespace.run("ip", "link", "set", "eth0", "up")
        namespace.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        run("ip", "link", "set", device, "up")
        self.ovs.vsctl("add-port", bridge, device, *settings)
        return namespace, address

    def forget(self, name: str) -> None:
        """Take a guest out of the configuration of the next agent."""
        entries = str(self._loaded["load"]).split(",")
        self._loaded["load"] = ",".join(entry for entry in entries if not entry.startswith(f"{name}="))

    def plugged(
        self,
        port_id: str,
        network_id: str = "n",
        *,
        level: ConfirmationLevel.ValueType = ConfirmationLevel.CONFIRMATION_LEVEL_UNSPECIFIED,
        groups: Sequence[str] = (),
    ) -> tuple[Namespace, str, int]:
        """Plug a namespace into a network, made if it is not there; return it with its address and ofport."""
        number = next(self._numbers)
        namespace = self._stack.enter_context(Namespace())
        if network_id not in {network.network_id for network in self.client.networks()}:
            self.client.apply_network(Network(network_id=network_id, subnets=[Subnet(cidr="10.9.0.0/24")]))
        address = f"10.9.0.{number}"
        consumer = NamespaceConsumer(netns_path=namespace.path)
        spec = PortSpec(
            port_id=port_id, network_id=network_id, fixed_ips=[address], namespace=consumer, security_groups=groups
        )
        port = self.client.plug(spec, level=level)
        return namespace, address, port.confirmation.ofport

    @property
    def ovs(self) -> PrivateOvs:
        return self.sandbox.ovs

    def flows(self, bridge: str) -> list[str]:
        """Return the flows of a bridge as ovs-ofctl shows them."""
        return [line for line in self.ovs.ovs_ofctl("dump-flows", bridge).splitlines() if "actions=" in line]

    def log(self) -> str:
        """Return the end of the agent's and the guests' log."""
        return "\n".join(self.sandbox.agent_log.read_text(errors="replace").splitlines()[-40:])


Start = Callable[..., GuestLab]


@pytest.fixture
def guests(netns: None, rundir: Path) -> Iterator[Start]:
    """Start a sandbox with guests: name and source, which is a path or the text of a Python file.

    `fenced` has the fence of those that are on the owned bridge, by name; `options` and `agent` are the groups [guests]
    and [agent] of the configuration; `bridges` are there before the agent, and forward as switches do.
    """
    with ExitStack() as stack:

        def start(
            *,
            options: dict[str, object] | None = None,
            fenced: Mapping[str, str] | None = None,
            agent: dict[str, object] | None = None,
            bridges: Sequence[str] = (),
            **sources: str | Path,
        ) -> GuestLab:
            run_dir = rundir / "guests"
            entries = []
            for name, source in sources.items():
                if isinstance(source, str):
                    file = rundir / f"{name}_guest.py"
                    file.write_text(source)
                    source = file  # noqa: PLW2901
                fence = (fenced or {}).get(name)
                entries.append(f"{name}={source}@" + (f"fence:{fence}" if fence else f"br-{name}"))
            settings: dict[str, dict[str, object]] = {
                "agent": agent or {},
                "apps": {"load": ",".join(entries)},
                "guests": {"run_dir": run_dir, **(options or {})},
            }
            sandbox = Sandbox(rundir, options=settings)
            stack.callback(sandbox.stop)
            sandbox.start_switch()
            for bridge in bridges:
                sandbox.ovs.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev")
            sandbox.start_agent()
            return GuestLab(sandbox, stack, settings["apps"])

        yield start


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)
