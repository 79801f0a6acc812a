"""docs/errors.md, generated from the exception tree and from where ofctl raises it.

`python -m ofctl.api.document` writes it, `--check` fails if it is stale. Run it at the root of the repository.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import ofctl
from ofctl import errors
from ofctl.api.status import DEFAULT_RETRY_MS, status_of
from ofctl.errors import AppRefused, ConfigError, InvalidField, OfctlError

DOCUMENT = Path("docs/errors.md")
START_ONLY: tuple[type[OfctlError], ...] = (ConfigError, AppRefused)
"""Raised before anything is served."""

HEAD = f"""\
# Errors

<!-- Generated from ofctl/errors.py and the code by `python -m ofctl.api.document`; do not edit. -->

A call that fails returns a gRPC status: a code, one sentence for people that names the subject and the cure, and
`google.rpc` details for programs in the trailing metadata `grpc-status-details-bin`.

| detail | when | what it has |
|---|---|---|
| `ErrorInfo` | always | `reason`: a word to branch on. `domain`: `ofctl`. `metadata`: see below |
| `BadRequest` | INVALID_ARGUMENT | the path of the field in the request, such as `port.fixed_ips[0]`; \
`ports[1].mac_address` in PlugPorts |
| `PreconditionFailure` | FAILED_PRECONDITION | `type` is the reason, `subject` what forbids it |
| `RetryInfo` | the same call may succeed later | the delay, {DEFAULT_RETRY_MS} ms unless the error knows better; \
`grpc-retry-pushback-ms` in the trailers says the same to gRPC's own retries |
| `RequestInfo` | a defect (INTERNAL) | the id under which the agent's log has the traceback |

`ErrorInfo.metadata` has, where they apply:

| key | value |
|---|---|
| `stage` | the stage of the plug that failed; docs/architecture.md draws them |
| `outcome` | what is left of a plug: `ABSENT` (verified); of an update, or of a group that was applied: `UNCHANGED` \
(verified); `UNKNOWN` or `IN_PROGRESS` (ask GetPort with the request_id). Without it nothing was begun |
| `request_id` | of a plug or update: the caller's, or the one that the agent made |
| `subject` | an id, or the path of a field |
| others | what the reason adds: `errno`, `of_error`, `change` |

## Classes

Python code inside ofctl raises these; the client raises the class of `ofctl.client.errors` named after the code.
"""

EXAMPLES = """\
## Examples

A wrong field:

    $ ofctl port plug web --network blue --vm --mac 01:00:5e:00:00:01; echo $?
    ofctl: port.mac_address: 01:00:5e:00:00:01 is a multicast address; the first octet must be even
    2

The same in Python:

    try:
        client.plug(PortSpec(port_id="web", network_id="blue", mac_address="01:00:5e:00:00:01", vm=VmConsumer()))
    except InvalidArgument as error:
        assert error.field == "port.mac_address" and error.reason == "INVALID_FIELD"

A deadline that passed, and what became of the plug:

    try:
        port = client.plug(spec, timeout_s=0.5)
    except DeadlineExceeded as error:
        if error.outcome != "ABSENT":
            found = client.request(error.request_id)  # RequestOutcome, and the port if it is there
"""


def classes(base: type[OfctlError] = OfctlError, depth: int = 0) -> Iterator[tuple[int, type[OfctlError]]]:
    """Yield the exception tree in the order of the module, with depths."""
    yield depth, base
    for child in base.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from classes(child, depth + 1)


def render() -> str:
    """Return the whole document."""
    lines = [HEAD, "| class | code | default reason | details | retry | meaning |", "|---|---|---|---|---|---|"]
    for depth, kind in classes():
        error = InvalidField("port", "x") if kind is InvalidField else kind("x")
        details = " ".join(detail.TypeName().rpartition(".")[2] for detail in status_of(error).details)
        code = "at start only" if kind in START_ONLY else kind.code
        name = f"{'&nbsp;&nbsp;' * depth}`{kind.__name__}`"
        summary = (inspect.getdoc(kind) or "").splitlines()[0]
        retry = "yes" if kind.retryable else ""
        lines.append(f"| {name} | {code} | {kind.default_reason} | {details} | {retry} | {summary} |")
    lines += ["", "## Reasons", "", "What is raised with a reason of its own; `...` stands for names and numbers.", ""]
    lines += ["| reason | code | sentence |", "|---|---|---|"]
    for reason, code, sentence in sorted(set(reasons(Path(ofctl.__file__).parent))):
        lines.append(f"| {reason} | {code} | {sentence} |")
    return "\n".join([*lines, "", EXAMPLES])


def reasons(package: Path) -> Iterator[tuple[str, str, str]]:
    """Yield reason, code and sentence of every error that the package raises with a literal reason."""
    known = {kind.__name__: kind for _, kind in classes()}
    for file in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known):
                continue
            kind = known[node.func.id]
            reason = next((word.value for word in node.keywords if word.arg == "reason"), None)
            if isinstance(reason, ast.Constant) and isinstance(reason.value, str) and kind not in START_ONLY:
                text = node.args[-1] if node.args else reason
                yield reason.value, kind.code, _sentence(text).replace("|", "\\|")


def _sentence(node: ast.expr) -> str:
    """Return the text of a literal with its replacement fields as `...`."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_sentence(part) for part in node.values)
    return "..."


def main(argv: list[str] | None = None) -> int:
    """Write the document, or with `--check` return 1 if it is not what would be written."""
    parser = argparse.ArgumentParser(description="write docs/errors.md")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the document is stale")
    fresh = render()
    if not parser.parse_args(argv).check:
        DOCUMENT.write_text(fresh)
        return 0
    present = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    sys.stderr.writelines(
        difflib.unified_diff(present.splitlines(True), fresh.splitlines(True), str(DOCUMENT), "what the code says")
    )
    return int(present != fresh)


if __name__ == "__main__":
    raise SystemExit(main())
