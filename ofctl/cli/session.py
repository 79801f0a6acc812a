"""What the commands share: options, the connection to the agent, failures and exit statuses."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from ofctl.client.channel import TARGET_VARIABLE, Tls
from ofctl.client.errors import ApiError
from ofctl.client.sync import Client
from ofctl.errors import OfctlError

EXIT_STATUS = {
    "INTERNAL": 1,
    "INVALID_ARGUMENT": 2,
    "FAILED_PRECONDITION": 3,
    "UNIMPLEMENTED": 3,
    "NOT_FOUND": 4,
    "ALREADY_EXISTS": 5,
    "PERMISSION_DENIED": 6,
    "UNAVAILABLE": 7,
    "DEADLINE_EXCEEDED": 8,
    "ABORTED": 9,
    "CANCELLED": 9,
    "RESOURCE_EXHAUSTED": 10,
}
"""By gRPC code; every other one is 1. A wrong command line is 2, as click has it. docs/api.md has the table."""

EXIT_FINDINGS = 11
"""`ofctl audit` did its work, and differences are left."""

PROGRESS_AFTER_S = 1.0
TLS_VARIABLES = ("OFCTL_TLS_CA", "OFCTL_TLS_CERT", "OFCTL_TLS_KEY")

F = TypeVar("F", bound=Callable[..., Any])


class Failure(click.ClickException):
    """A command failed: one sentence for standard error, and an exit status."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.exit_code = EXIT_STATUS.get(code, 1)  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: Any = None) -> None:
        click.echo(f"ofctl: {self.format_message()}", err=True, file=file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """How a command reaches the agent and writes its result."""

    target: str | None
    timeout_s: float
    as_json: bool

    @contextmanager
    def agent(self, doing: str = "") -> Iterator[Client]:
        """Yield a client; its errors become failures. After a second a terminal is told what is being waited for."""
        with Client(self.target, timeout_s=self.timeout_s, tls=_tls()) as client, progress(doing):
            try:
                yield client
            except ApiError as error:
                raise Failure(sentence(error, client.target), error.code.name) from error


def agent_options(command: F) -> F:
    """Give a command `--connect`, `--timeout` and `-o`, and a Session as its first argument."""

    @click.option(
        "--connect",
        "target",
        envvar=TARGET_VARIABLE,
        metavar="TARGET",
        help=f"unix:/PATH or HOST:PORT of the agent; ${TARGET_VARIABLE} does the same.",
    )
    @click.option("--timeout", "timeout_s", default=30.0, show_default=True, help="Seconds to wait for the answer.")
    @click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="For people, or ProtoJSON for programs.",
    )
    @functools.wraps(command)
    def wrapped(target: str | None, timeout_s: float, output: str, **rest: Any) -> Any:
        return command(Session(target=target, timeout_s=timeout_s, as_json=output == "json"), **rest)

    return wrapped  # type: ignore[return-value]


@contextmanager
def progress(doing: str) -> Iterator[None]:
    """Tell a terminal what is being waited for, once that has taken a second."""
    console = Console(stderr=True)
    if not doing or not console.is_terminal:
        yield
        return
    status = console.status(doing)
    timer = threading.Timer(PROGRESS_AFTER_S, status.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()


@contextmanager
def local_failures() -> Iterator[None]:
    """Make failures of what is raised by ofctl's own code in this process."""
    try:
        yield
    except OfctlError as error:
        raise Failure(error.message, error.code) from error


def sentence(error: ApiError, target: str) -> str:
    """Return the error as one sentence that says what is left and what to do."""
    text = error.message.rstrip(".")
    if error.code.name == "UNAVAILABLE" and not error.reason:
        return f"no agent answers on {target}; start ofctl-agent, or name another with --connect ({text})"
    if error.code.name == "DEADLINE_EXCEEDED" and not error.reason:
        text = f"no answer from {target} in time; give it more with --timeout"
    if error.stage:
        text += f" (stage {error.stage})"
    if error.outcome == "ABSENT":
        text += "; nothing is left of it"
    elif error.outcome == "UNCHANGED":
        text += "; all is as it was before"
    elif error.outcome and error.request_id:
        text += f"; what is there now is not known yet, ask with: ofctl port show --request {error.request_id}"
    elif error.outcome:
        text += "; what is there now is not known yet: look, and do it again"
    elif error.code.name == "DEADLINE_EXCEEDED" and error.request_id and not error.reason:
        text += f", and ask what came of it with: ofctl port show --request {error.request_id}"
    elif error.retry_after_s is not None:
        text += f"; try again after {error.retry_after_s:g} s"
    return text


def _tls() -> Tls | None:
    files = [os.environ.get(name) for name in TLS_VARIABLES]
    if not any(files):
        return None
    missing = [name for name, file in zip(TLS_VARIABLES, files, strict=True) if not file]
    if missing:
        raise click.UsageError(f"for TLS set {', '.join(missing)} too")
    ca, cert, key = (Path(file) for file in files if file)
    return Tls(ca=ca, cert=cert, key=key)
