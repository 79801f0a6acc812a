"""`ryu.lib.ovs` with the Python library of Open vSwitch that ofctl has: what os-ken 4.2 expects of it is not there.

In the package ovs 4.0 `_uuid_to_row` is a method of rows, no function of `ovs.db.idl`. And os-ken takes the socket of a
database for valid only if it is a regular file.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "os_ken.lib.ovs.vsctl"
UNIX = "unix:"


def install() -> None:
    """Have the module mended when somebody imports it; few do, and it takes a while."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module's own spec, with a loader that mends what it has loaded."""
        if fullname != NAME:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            loader.exec_module = _then_mend(loader.exec_module)
        return spec


def _then_mend(load: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    def exec_module(module: ModuleType) -> None:
        load(module)
        others: Any = module
        known = others.valid_ovsdb_addr
        others.valid_ovsdb_addr = lambda address: _is_socket(address) or known(address)
        rows: Any = others.ovs.db.idl
        if not hasattr(rows, "_uuid_to_row"):
            rows._uuid_to_row = _uuid_to_row

    return exec_module


def _is_socket(address: str) -> bool:
    return address.startswith(UNIX) and Path(address.removeprefix(UNIX)).is_socket()


def _uuid_to_row(atom: Any, base: Any) -> Any:
    """Return a reference as it is: what os-ken converts (values to compare with, defaults) refers to no row by UUID."""
    return atom if base.ref_table_name is None else None
