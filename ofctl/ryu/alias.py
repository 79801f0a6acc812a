"""`import ryu...` finds os-ken: the same modules, not copies, under the name that the application knows.

os-ken is Ryu 4.34 renamed. What it dropped is supplied or looked for elsewhere:
- `ryu.app.wsgi` is `ofctl.ryu.wsgi`;
- another `ryu.app.NAME` that os-ken lacks is `NAME` beside the application (Ryu's samples import one another so), or
  `NAME.py` in the directory above, which `ryu.app` is for `ryu.app.gui_topology.gui_topology`;
- classes that were renamed have their old names too: RyuApp, RyuException, RyuBGPSpeaker;
- `ryu.version`, which os-ken dropped and a module of its own still imports, and Python 2's `buffer`, which some of
  Ryu's samples for OpenFlow 1.0 still say, are there.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

OLD, NEW = "ryu", "os_ken"
OLD_CLASS, NEW_CLASS = "Ryu", "OSKen"
APPS = "os_ken.app."
VERSION_INFO = (4, 34)
"""The Ryu that os-ken began as."""
SUPPLIED = {
    "os_ken.app.wsgi": "ofctl.ryu.wsgi",
    "os_ken.app.conf_switch_key": "ofctl.ryu.conf_switch_key",
}
RENAMED = ("os_ken.base.app_manager", "os_ken.exception")
"""Modules with renamed classes that an application gets to without naming the module (`from ryu.base import ...`)."""

_SELF = sys.modules[__name__]


def canonical(name: str) -> str:
    """Return the name of the module that `name` stands for; one that is no alias comes back as it is."""
    found = NEW + name.removeprefix(OLD) if name == OLD or name.startswith(f"{OLD}.") else name
    if found in SUPPLIED:
        return SUPPLIED[found]
    if found.startswith(APPS) and not _in_os_ken(found):
        return found.removeprefix(APPS)
    return found


def install() -> None:
    """Let this process import by both names. Safe to call again."""
    if not any(isinstance(finder, _Alias) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Alias())
        for name in RENAMED:
            _rename(importlib.import_module(name))
        setattr(sys.modules[RENAMED[0]], "require_app", _require_app)  # noqa: B010 - for mypy a module has none
        root = sys.modules[NEW]
        vars(root).setdefault("version_info", VERSION_INFO)
        vars(root).setdefault("version", ".".join(map(str, VERSION_INFO)))
        vars(builtins).setdefault("buffer", memoryview)


def look_beside(directory: Path) -> None:
    """Let this process import what is in the directory of an application, and above it the modules of nobody else."""
    sys.path.insert(0, str(directory))
    sys.meta_path.append(_Above(directory.parent))
    importlib.invalidate_caches()


class _Above(importlib.abc.MetaPathFinder):
    """Finds modules in one directory: files alone, since any directory would be a package to Python."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for a module that is on no path of Python's."""
        file = self._directory / f"{fullname}.py"
        return importlib.util.spec_from_file_location(fullname, file) if path is None and file.is_file() else None


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self) -> None:
        self._specs: dict[str, importlib.machinery.ModuleSpec | None] = {}
        """The specs of modules by their own names."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for what is an alias of a module that is there."""
        name = canonical(fullname)
        if name == fullname or not _exists(name):
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return the module that the alias stands for."""
        module = importlib.import_module(canonical(spec.name))
        self._specs.setdefault(module.__name__, module.__spec__)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave it as it is: it has run already. It keeps its own spec, which relative imports go by."""
        module.__spec__ = self._specs[module.__name__]
        _rename(module)


def _rename(module: ModuleType) -> None:
    for name in [name for name in vars(module) if name.startswith(NEW_CLASS)]:
        old = OLD_CLASS + name.removeprefix(NEW_CLASS)
        if not hasattr(module, old):
            setattr(module, old, getattr(module, name))


def _require_app(app_name: str, api_style: bool = False) -> None:
    """Have an application loaded with the module that calls this, or (`api_style`) with the one that imports that.

    As os-ken's own, which counts stack frames and would take the frames of this module for the importing one.
    """
    modules = [module for frame in inspect.stack() if (module := inspect.getmodule(frame[0])) is not None]
    others = [module for module in modules if module.__name__.partition(".")[0] != "importlib" and module is not _SELF]
    if len(others) > api_style:
        requiring = others[api_style]
        requiring._REQUIRED_APP = [*getattr(requiring, "_REQUIRED_APP", []), canonical(app_name)]  # type: ignore[attr-defined]


def _in_os_ken(name: str) -> bool:
    """Tell whether os-ken itself has the module; its package `app` is there."""
    top = name.removeprefix(APPS).partition(".")[0]
    package = importlib.import_module(APPS.rstrip("."))
    return importlib.machinery.PathFinder.find_spec(APPS + top, package.__path__) is not None


def _exists(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
