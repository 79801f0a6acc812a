"""What `ofctl app new` makes: an installable package with an app or a guest that works, and its test."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from string import Template
from typing import Literal

from ofctl.pipeline.anchors import NAME

FILES = {
    "pyproject.toml.in": "pyproject.toml",
    "README.md.in": "README.md",
    "app.py.in": "$package/__init__.py",
    "test_app.py.in": "tests/test_$package.py",
    "flows.txt.in": "tests/golden/flows.txt",
}
"""Of a guest those that it has."""


def make_package(kind: Literal["feature", "guest"], name: str, directory: Path) -> list[Path]:
    """Write the files of an app or guest named `name` below `directory/ofctl-name`, and return them.

    Raises ValueError for a name that apps do not have, FileExistsError if the directory is there.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an app: write 1 to 32 of a-z, 0-9 and -, beginning with a letter")
    words = {
        "name": name,
        "package": f"ofctl_{name.replace('-', '_')}",
        "cls": "".join(part.capitalize() for part in name.split("-")),
    }
    root = directory / f"ofctl-{name}"
    root.mkdir(parents=True)
    written = []
    templates = resources.files("ofctl.scaffold") / kind
    for source, target in FILES.items():
        if not (templates / source).is_file():
            continue
        path = root / Template(target).substitute(words)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template((templates / source).read_text("utf-8")).substitute(words))
        written.append(path)
    return written
