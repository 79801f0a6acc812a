"""One entry of `[apps] load`: `[NAME=]TARGET[@WHERE]`, taken apart; and what kind of application a source is.

Nothing is imported here. A guest must not run in the agent's process, not even its imports, so a source's kind is read
in its syntax tree.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib.machinery import ModuleSpec
from pathlib import Path

from ofctl.errors import AppRefused

CONTRACT = "ofctl.plugin"
"""Who imports it is a feature app or a binder."""
FRAMEWORKS = ("ryu", "os_ken")
"""Who imports one of them is a guest; but anybody may read packets with their package `lib`."""
OLD_FRAMEWORK, FRAMEWORK = FRAMEWORKS
MAX_FILES = 64
"""That are read to tell one kind."""


class Kind(Enum):
    """What runs it: the agent, or a process of its own."""

    FEATURE = "feature app or binder"
    GUEST = "guest"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it was written, and its parts; those that it lacks are empty."""

    text: str
    name: str
    target: str
    """Name of an entry point, or a module or file."""
    member: str
    """Of a module or file, after a colon."""
    where: str

    @property
    def is_file(self) -> bool:
        return "/" in self.target or self.target.endswith(".py")


def read_entry(text: str) -> Entry:
    """Take an entry apart; a path may have `=`, `@` and `:` in its directories. Raises AppRefused."""
    match = re.fullmatch(
        r"((?P<name>[^=@:/]*)=)?(?P<target>[^:]*/[^:]*?|[^:@=]+?)(:(?P<member>[^:@/]+))?(@(?P<where>[^@/]*))?",
        text.strip(),
    )
    if match is None or not match["target"].strip() or "" in (match["name"], match["where"]):
        raise AppRefused(text, "write [NAME=]TARGET[@WHERE]; TARGET is an entry point, a module or a file")
    return Entry(text, match["name"] or "", match["target"], match["member"] or "", match["where"] or "")


def find_module(name: str) -> Path | None:
    """Return the source of a module without importing it or the packages that it is in; None if there is none.

    `ryu.NAME` is looked for as `os_ken.NAME`. A package's source is its `__init__.py`.
    """
    top, dot, rest = name.partition(".")
    name = f"{FRAMEWORK if top == OLD_FRAMEWORK else top}{dot}{rest}"
    path: list[str] | None = None
    spec: ModuleSpec | None = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        spec = _spec(".".join(parts[:depth]), path)
        if spec is None or (depth < len(parts) and spec.submodule_search_locations is None):
            return None
        path = list(spec.submodule_search_locations or ())
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def _spec(name: str, path: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path)
        if spec is not None:
            return spec
    return None


def kind_of(text: str, source: Path, module: str) -> Kind:
    """Return the kind of the application in `source`, the file of `module` ("" if it is no module's).

    What a file's own imports do not tell, those of the package's, or its neighbours', that it imports do. Raises
    AppRefused, in the name of the entry `text`, for a source of neither or both kinds, or one that cannot be read.
    """
    waiting, seen = [(source, module)], {source}
    while waiting:
        file, name = waiting.pop(0)
        imports = set(_imports(text, file, name))
        contract = any(f"{each}.".startswith(f"{CONTRACT}.") for each in imports)
        framework = {each for each in imports if each.partition(".")[0] in FRAMEWORKS}
        if contract and any(each.split(".")[1:2] != ["lib"] for each in framework):
            raise AppRefused(
                text,
                f"{file} imports both {CONTRACT} and {min(framework).partition('.')[0]}: it is either a feature app or "
                "a guest; make two files of it",
            )
        if contract or framework:
            return Kind.FEATURE if contract else Kind.GUEST
        for each in sorted(imports):
            for found in _own(each, file, name):
                if found[0] not in seen and len(seen) < MAX_FILES:
                    seen.add(found[0])
                    waiting.append(found)
    raise AppRefused(
        text,
        f"{source} imports neither {CONTRACT}, as feature apps and binders do, nor ryu or os_ken, as guests do; name "
        "the file that does",
    )


def _imports(text: str, file: Path, module: str) -> Iterator[str]:
    """Yield the whole names that a file imports, both of modules and of what may be modules."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except OSError as error:
        raise AppRefused(text, f"{file} cannot be read: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        raise AppRefused(text, f"{file} is no Python source: {error}") from None
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{start}.{alias.name}" if start else alias.name for alias in node.names)
            yield start


def _own(name: str, file: Path, module: str) -> Iterator[tuple[Path, str]]:
    """Yield the file that an import means, if it is of the same package as `module`, or beside a `file` of none."""
    if not name:
        return
    if module:
        found = find_module(name) if name.partition(".")[0] == module.partition(".")[0] else None
        if found is not None and found.suffix == ".py":
            yield found, name
        return
    for place in (file.parent / f"{name}.py", file.parent / name / "__init__.py"):
        if place.is_file():
            yield place, ""
