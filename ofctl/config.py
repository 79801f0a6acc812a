"""The configuration: declared with oslo.config, read once at start, handed down as frozen values.

`load` is for the composition root. Nothing below it knows oslo.config: it gets a `Settings`, or one of its groups.
The options themselves are in `ofctl.options`, the values in `ofctl.settings`.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from oslo_config import cfg, iniparser

from ofctl import __version__
from ofctl.apps.loading import FoundApps, find_apps
from ofctl.errors import ConfigError, InvalidField
from ofctl.model.ids import DeviceName, Dpid, PhysicalNetwork, device_name, identifier
from ofctl.options import APP, GROUPS, MAX_DEVICE_PREFIX
from ofctl.settings import (
    AgentSettings,
    AppSettings,
    DatabaseSettings,
    GrpcSettings,
    GuestSettings,
    OpenflowSettings,
    OvsdbSettings,
    Settings,
)

DEFAULT_FILE = Path("/etc/ofctl/ofctl.conf")
MAX_SOCKET_PATH = 107
"""Bytes of a unix socket's path (unix(7))."""


def load(argv: Sequence[str] = (), config_files: Sequence[str | Path] | None = None) -> Settings:
    """Return the checked configuration.

    `argv` (without the program's name) may have `--config-file FILE` (again and again; a later file wins) and
    `--config-dir DIRECTORY`; without either, `config_files` are read, or the default file if it is there. Each
    `--app ENTRY` comes after those of `[apps] load`. Apps are imported, because their options are part of it; guests
    are not.
    Raises ConfigError, which names group and option. Exits for `--help`, `--version` and a bad command line.
    """
    if config_files is None:
        config_files = [DEFAULT_FILE] if DEFAULT_FILE.exists() else []
    conf = cfg.ConfigOpts()
    for group, options in GROUPS.items():
        conf.register_opts(options, group=group)
    conf.register_cli_opt(APP)
    try:
        conf(
            list(argv),
            project="ofctl",
            prog="ofctl-agent",
            version=__version__,
            default_config_files=[str(file) for file in config_files],
            default_config_dirs=[],
            use_env=False,
        )
        texts = [*conf["apps"]["load"], *conf["app"]]
        found = find_apps(texts, bridge=conf["agent"]["bridge"])
        groups = {**GROUPS, **{f"app:{app.name}": list(app.options) for app in found.classes}}
        for group in groups.keys() - GROUPS.keys():
            conf.register_opts(groups[group], group=group)
        _refuse_unknown(conf, groups)
    except cfg.ConfigFilesNotFoundError as error:
        raise ConfigError(f"no such configuration file: {', '.join(error.config_files)}") from None
    except (cfg.Error, iniparser.ParseError) as error:
        raise ConfigError(f"the configuration cannot be read: {error}") from None
    values = {group: {option.dest: _value(conf, group, option) for option in groups[group]} for group in groups}
    values["apps"]["load"] = texts
    return _settings(values, found)


def _value(conf: cfg.ConfigOpts, group: str, option: cfg.Opt) -> Any:
    """Return the value of one option; oslo.config converts and checks it when it is asked for."""
    try:
        return conf[group][option.dest]
    except (cfg.ConfigFileValueError, ValueError) as error:
        problem = str(error).partition(" is not valid: ")[2] or str(error)
        raise _refusal(f"{group}.{option.dest}", f"is not valid: {problem.rstrip('.')}. {option.help}") from None


def _refuse_unknown(conf: cfg.ConfigOpts, groups: Mapping[str, Sequence[cfg.Opt]]) -> None:
    """Refuse options and groups that nobody reads: oslo.config would pass over a misspelt one in silence."""
    files = [*conf.config_file, *(str(file) for name in conf.config_dirs for file in sorted(Path(name).glob("*.conf")))]
    for file in files:
        sections: dict[str, dict[str, Any]] = {}
        cfg.ConfigParser(file, sections).parse()
        for group, assigned in sections.items():
            if group not in groups and (assigned or group != "DEFAULT"):
                raise ConfigError(f"{file}: there is no group [{group}]; there are {', '.join(groups)}", subject=group)
            known = {option.dest for option in groups.get(group, ())}
            for name in assigned:
                if name not in known:
                    raise ConfigError(
                        f"{file}: [{group}] has no option {name}; it has {', '.join(sorted(known))}",
                        subject=f"{group}.{name}",
                    )


def _settings(values: Mapping[str, Mapping[str, Any]], found: FoundApps) -> Settings:
    agent, ovsdb, openflow, grpc, database, guests = (dict(values[group]) for group in GROUPS if group != "apps")
    agent["host_id"] = _checked(
        lambda text: identifier(text, ""), agent["host_id"] or socket.gethostname(), "agent.host_id"
    )
    agent["bridge"] = _checked(lambda text: device_name(text, ""), agent["bridge"], "agent.bridge")
    agent["device_prefix"] = _checked(_device_prefix, agent["device_prefix"], "agent.device_prefix")
    agent["physical_networks"] = _checked(_physical_networks, agent["physical_networks"], "agent.physical_networks")
    agent["admin_uids"] = _checked(_uids, agent["admin_uids"], "agent.admin_uids")
    for group, section in (("ovsdb", ovsdb), ("database", database)):
        section["connection"] = _checked(_connection, section["connection"], f"{group}.connection")
    ovsdb["rundir"] = _checked(_absolute, ovsdb["rundir"], "ovsdb.rundir")
    grpc["socket"] = _checked(_socket, grpc["socket"], "grpc.socket")
    grpc["socket_mode"] = _checked(_mode, grpc["socket_mode"], "grpc.socket_mode")
    for name in ("tls_cert", "tls_key", "tls_ca"):
        grpc[name] = _checked(_readable, grpc[name], f"grpc.{name}") if grpc[name] else None
    missing = [name for name in ("tls_cert", "tls_key", "tls_ca") if grpc[name] is None]
    if 0 < len(missing) < 3:
        raise _refusal(f"grpc.{missing[0]}", "is missing: set all three TLS options or none")
    grpc["admin_names"] = frozenset(grpc["admin_names"])
    if grpc["admin_names"] and missing:
        raise _refusal("grpc.admin_names", "needs TLS, which tells a caller's name: set the three TLS options")
    grpc["listen"] = _checked(lambda text: _listen(text, tls=not missing), grpc["listen"], "grpc.listen") or None
    guests["run_dir"] = _checked(_absolute, guests["run_dir"], "guests.run_dir")
    guests["http"] = _checked(_guest_listens, guests["http"], "guests.http")
    guests["config_files"] = _checked(_guest_files, guests["config_files"], "guests.config_files")
    guests["datapath_ids"] = _checked(_datapath_ids, guests["datapath_ids"], "guests.datapath_ids")
    fenced = sorted(guests["datapath_ids"].keys() & {guest.name for guest in found.guests if guest.fence})
    if fenced:
        raise _refusal("guests.datapath_ids", f"names {fenced[0]!r}, which has no bridge of its own, but a fence")
    for name in ("http", "config_files", "datapath_ids"):
        strangers = sorted(guests[name].keys() - {guest.name for guest in found.guests})
        if strangers:
            raise _refusal(f"guests.{name}", f"names {strangers[0]!r}, which is no guest of [apps] load")
    return Settings(
        agent=AgentSettings(**agent),
        ovsdb=OvsdbSettings(**ovsdb),
        openflow=OpenflowSettings(**openflow),
        grpc=GrpcSettings(**grpc),
        database=DatabaseSettings(**database),
        apps=AppSettings(
            load=tuple(values["apps"]["load"]),
            classes=found.classes,
            **{name: values["apps"][name] for name in ("bind_timeout_s", "packet_in_port_rate", "packet_in_rate")},
        ),
        app_options=_app_options(values),
        guests=GuestSettings(run=found.guests, **guests),
    )


def _app_options(values: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    own = {group.removeprefix("app:"): MappingProxyType(dict(values[group])) for group in values if ":" in group}
    return MappingProxyType(own)


def _checked(check: Callable[[Any], Any], value: Any, option: str) -> Any:
    """Return `check(value)`; whatever it finds wrong is said in the name of the option."""
    try:
        return check(value)
    except InvalidField as error:
        raise _refusal(option, error.problem) from None
    except ValueError as error:
        raise _refusal(option, str(error)) from None


def _refusal(option: str, problem: str) -> ConfigError:
    group, name = option.split(".")
    return ConfigError(f"[{group}] {name} {problem}", subject=option)


def _device_prefix(text: str) -> str:
    if not 1 <= len(text) <= MAX_DEVICE_PREFIX:
        raise ValueError(f"{text!r} has {len(text)} characters; give 1 to {MAX_DEVICE_PREFIX}")
    return device_name(text, "")


def _physical_networks(pairs: Mapping[str, str]) -> Mapping[PhysicalNetwork, tuple[DeviceName, ...]]:
    devices = {
        PhysicalNetwork(identifier(name, "")): tuple(device_name(device, "") for device in text.split("+"))
        for name, text in pairs.items()
    }
    everyone = [device for bond in devices.values() for device in bond]
    twice = {device for device in everyone if everyone.count(device) > 1}
    if twice:
        raise ValueError(
            f"gives {', '.join(sorted(twice))} to two physical networks, or twice; each needs devices of its own"
        )
    return MappingProxyType(devices)


def _uids(texts: Sequence[str]) -> frozenset[int]:
    for text in texts:
        if not text.isdecimal():
            raise ValueError(f"has {text!r}; write user ids as numbers, comma separated")
    return frozenset(int(text) for text in texts)


def _connection(text: str) -> str:
    for method in text.split(","):
        if not re.fullmatch(r"unix:/.+|tcp:(\[[0-9a-fA-F:.%]+\]|[^:]+):\d+", method.strip()):
            raise ValueError(f"is {method!r}; write unix:/PATH or tcp:ADDRESS:PORT")
    return ",".join(method.strip() for method in text.split(","))


def _absolute(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError(f"is {text!r}; write an absolute path")
    return path


def _socket(text: str) -> Path:
    if len(text.encode()) > MAX_SOCKET_PATH:
        raise ValueError(f"has {len(text.encode())} bytes; the path of a unix socket has at most {MAX_SOCKET_PATH}")
    return _absolute(text)


def _readable(text: str) -> Path:
    path = _absolute(text)
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"is {text}, which cannot be read: {error.strerror}") from None
    return path


def _mode(text: str) -> int:
    if not re.fullmatch(r"(0o?)?[0-7]{3}", text):
        raise ValueError(f"is {text!r}; write three octal digits, such as 0660")
    return int(text[-3:], 8)


def _listen(text: str, *, tls: bool) -> str:
    if not text:
        return ""
    match = re.fullmatch(r"(\[(?P<ipv6>[^\]]+)\]|(?P<host>[^:]+)):(?P<port>\d{1,5})", text)
    if not match or int(match["port"]) > 65_535:
        raise ValueError(f"is {text!r}; write HOST:PORT or [IPV6]:PORT")
    host = match["ipv6"] or match["host"]
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not tls:
        raise ValueError(f"is {text}, open to the network: set tls_cert, tls_key and tls_ca, or listen on 127.0.0.1")
    return text


def _guest_listens(texts: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(
        {name: str(_socket(text)) if text.startswith("/") else _listen(text, tls=False) for name, text in texts.items()}
    )


def _datapath_ids(texts: Mapping[str, str]) -> Mapping[str, Dpid]:
    ids = {}
    for name, text in texts.items():
        try:
            ids[name] = Dpid(int(text, 0))
        except ValueError:
            raise ValueError(f"has {text!r}; a number is expected, decimal or hexadecimal with 0x") from None
        if not 0 < ids[name] < 1 << 64:
            raise ValueError(f"has {text!r}; a datapath id is not 0 and has 64 bits")
    return MappingProxyType(ids)


def _guest_files(texts: Mapping[str, str]) -> Mapping[str, Path]:
    return MappingProxyType({name: _readable(text) for name, text in texts.items()})
