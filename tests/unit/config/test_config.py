"""The configuration: its defaults, and that every bad value is refused in the name of its option."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ofctl.config import load
from ofctl.errors import ConfigError
from ofctl.options import GROUPS
from ofctl.settings import Settings

Loader = Callable[[str], Settings]
SAMPLE = Path(__file__).parents[3] / "etc" / "ofctl.conf"


@pytest.fixture
def from_text(tmp_path: Path) -> Loader:
    def read(text: str) -> Settings:
        file = tmp_path / "ofctl.conf"
        file.write_text(text)
        return load(["--config-file", str(file)])

    return read


def test_defaults() -> None:
    settings = load(config_files=[])
    assert settings.agent.host_id == socket.gethostname()
    assert settings.agent.bridge == "br-int"
    assert settings.agent.physical_networks == {}
    assert settings.agent.admin_uids == {0}
    assert settings.ovsdb.connection == "unix:/var/run/openvswitch/db.sock"
    assert settings.grpc.socket == Path("/run/ofctl/ofctl.sock")
    assert settings.grpc.socket_mode == 0o660
    assert settings.grpc.listen is None and settings.grpc.tls_cert is None


def test_the_sample_file_is_accepted_and_changes_nothing() -> None:
    assert load(["--config-file", str(SAMPLE)]) == load(config_files=[])


FOUND = {"apps": {"classes"}, "guests": {"run"}}
"""Values that the loader makes of `[apps] load`."""


def test_every_option_is_a_setting() -> None:
    settings = load(config_files=[])
    for group, options in GROUPS.items():
        names = {field.name for field in dataclasses.fields(getattr(settings, group))}
        assert names - FOUND.get(group, set()) == {option.dest for option in options}


def test_every_option_has_help_and_says_its_unit() -> None:
    units = {"_s": "econds", "_ms": "illiseconds"}
    for group, options in GROUPS.items():
        for option in options:
            assert option.help and option.help.endswith("."), f"{group}.{option.name}"
            for suffix, word in units.items():
                if option.name.endswith(suffix):
                    assert word in option.help, f"{group}.{option.name}"


def test_values_are_converted(from_text: Loader) -> None:
    settings = from_text(
        "[agent]\nhost_id = node-1\nphysical_networks = public:eth1+eth2, storage:br-san\nadmin_uids = 0,107\n"
        "[grpc]\nsocket_mode = 0600\nlisten = [::1]:7000\nreply_reserve_ms = 50\n"
        "[database]\nconnection = tcp:192.0.2.1:6641, tcp:[2001:db8::2]:6641\n"
    )
    assert settings.agent.host_id == "node-1"
    assert settings.agent.physical_networks == {"public": ("eth1", "eth2"), "storage": ("br-san",)}
    assert settings.agent.admin_uids == {0, 107}
    assert settings.grpc.socket_mode == 0o600
    assert settings.grpc.listen == "[::1]:7000"
    assert settings.grpc.reply_reserve_ms == 50
    assert settings.database.connection == "tcp:192.0.2.1:6641,tcp:[2001:db8::2]:6641"


def test_a_later_file_wins(tmp_path: Path) -> None:
    for name, ports in (("a.conf", 5), ("b.conf", 7)):
        (tmp_path / name).write_text(f"[agent]\nmax_ports = {ports}\n")
    arguments = [f"--config-file={tmp_path / name}" for name in ("a.conf", "b.conf")]
    assert load(arguments).agent.max_ports == 7


def test_the_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_AGENT__MAX_PORTS", "5")
    assert load(config_files=[]).agent.max_ports == 1000


@pytest.mark.parametrize(
    ("group", "name", "value", "problem"),
    [
        ("agent", "host_id", "a b", "'a b' has a character"),
        ("agent", "bridge", "a-name-much-too-long", "at most 15"),
        ("agent", "device_prefix", "toolong", "1 to 5"),
        ("agent", "physical_networks", "public", "NAME:VALUE"),
        ("agent", "physical_networks", "a:eth1,b:eth1", "eth1 to two"),
        ("agent", "physical_networks", "a:eth1+eth2,b:eth2", "eth2 to two"),
        ("agent", "physical_networks", "a:eth1,a:eth2", "duplicate"),
        ("agent", "max_ports", "many", "'many'"),
        ("agent", "max_ports", "0", "greater than or equal"),
        ("agent", "plug_timeout_s", "-1", "greater than or equal"),
        ("agent", "admin_uids", "root", "'root'"),
        ("agent", "log_format", "xml", "text, json"),
        ("agent", "log_level", "LOUD", "DEBUG"),
        ("ovsdb", "connection", "/run/db.sock", "unix:/PATH"),
        ("ovsdb", "connection", "ssl:192.0.2.1:6640", "unix:/PATH"),
        ("ovsdb", "rundir", "run", "absolute"),
        ("ovsdb", "datapath_type", "dpdk", "auto, system, netdev"),
        ("openflow", "echo_interval_s", "soon", "'soon'"),
        ("grpc", "socket", "/" + "x" * 107, "at most 107"),
        ("grpc", "socket_mode", "rw", "octal"),
        ("grpc", "listen", "7000", "HOST:PORT"),
        ("grpc", "listen", "127.0.0.1:70000", "HOST:PORT"),
        ("grpc", "listen", "0.0.0.0:7000", "tls_cert"),
        ("grpc", "tls_cert", "/nonexistent.pem", "cannot be read"),
        ("grpc", "admin_names", "operator", "needs TLS"),
        ("database", "connection", "file", "unix:/PATH"),
    ],
)
def test_a_bad_value_is_refused_in_the_name_of_its_option(
    from_text: Loader, group: str, name: str, value: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        from_text(f"[{group}]\n{name} = {value}\n")
    assert refusal.value.subject == f"{group}.{name}"
    assert f"[{group}] {name} " in str(refusal.value)
    assert problem.lower() in str(refusal.value).lower()


def test_tls_needs_all_three_files(from_text: Loader, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("")
    with pytest.raises(ConfigError, match=r"\[grpc\] tls_key is missing") as refusal:
        from_text(f"[grpc]\ntls_cert = {tmp_path / 'cert.pem'}\n")
    assert refusal.value.subject == "grpc.tls_key"


@pytest.mark.parametrize(
    ("text", "subject"),
    [("[agent]\nmax_port = 5\n", "agent.max_port"), ("[agnet]\n", "agnet"), ("[DEFAULT]\ndebug = 1\n", "DEFAULT")],
)
def test_a_misspelt_option_or_group_is_refused(from_text: Loader, text: str, subject: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        from_text(text)
    assert refusal.value.subject == subject


@pytest.mark.parametrize("text", ["max_ports = 5\n", "[agent\nmax_ports = 5\n"])
def test_a_broken_file_is_refused_by_name(from_text: Loader, tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"ofctl\.conf"):
        from_text(text)


def test_a_missing_file_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"/nonexistent\.conf"):
        load(["--config-file", "/nonexistent.conf"])


def test_settings_cannot_be_changed() -> None:
    settings = load(config_files=[])
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.agent.bridge = "br-ex"  # type: ignore[misc,assignment]
    with pytest.raises(TypeError):
        settings.agent.physical_networks["a"] = "b"  # type: ignore[index]
