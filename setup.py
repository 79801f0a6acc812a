"""Builds the gRPC stubs and their type stubs from protos/ into the package ofctl.v1; all else is in pyproject.toml.

`python setup.py build_stubs --inplace` makes them in the source tree, as an editable install does.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

from setuptools import Command, setup
from setuptools.command.build import build
from setuptools.errors import ExecError

ROOT = Path(__file__).resolve().parent
PROTOS = ROOT / "protos"
PLUGINS = {"protoc-gen-mypy": "main", "protoc-gen-mypy_grpc": "grpc"}


class BuildStubs(Command):
    """A step of `build` (setuptools.command.build.SubCommand)."""

    description = "generate the gRPC stubs from protos/"
    user_options: ClassVar = [("inplace", "i", "generate into the source tree")]
    boolean_options: ClassVar = ["inplace"]

    build_lib: str | None
    editable_mode: bool

    def initialize_options(self) -> None:
        self.inplace = False
        self.editable_mode = False
        self.build_lib = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        assert self.build_lib is not None
        target = ROOT if self.inplace or self.editable_mode else Path(self.build_lib)
        target.mkdir(parents=True, exist_ok=True)
        generate(target)

    def get_source_files(self) -> list[str]:
        """Name the inputs, which makes them part of the sdist."""
        return [str(proto.relative_to(ROOT)) for proto in sources()]

    def get_outputs(self) -> list[str]:
        assert self.build_lib is not None
        names = [str(proto.relative_to(PROTOS).with_suffix("")) for proto in sources()]
        suffixes = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
        return [os.path.join(self.build_lib, name + suffix) for name in names for suffix in suffixes]

    def get_output_mapping(self) -> dict[str, str]:
        return {}


def sources() -> list[Path]:
    return sorted(PROTOS.rglob("*.proto"))


def generate(target: Path) -> None:
    """Run protoc. The plugins run by this interpreter: their scripts need not be on PATH."""
    from grpc_tools import protoc  # noqa: PLC0415 - a build requirement, absent when only metadata is asked for

    with tempfile.TemporaryDirectory() as scripts:
        plugins = []
        for name, function in PLUGINS.items():
            script = Path(scripts) / name
            program = shlex.quote(f"from mypy_protobuf.main import {function}; {function}()")
            script.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {program}\n")
            script.chmod(script.stat().st_mode | stat.S_IXUSR)
            plugins.append(f"--plugin={name}={script}")
        arguments = [
            "protoc",
            f"--proto_path={PROTOS}",
            f"--proto_path={Path(protoc.__file__).parent / '_proto'}",
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out={target}",
            f"--mypy_grpc_out={target}",
            *plugins,
            *map(str, sources()),
        ]
        if protoc.main(arguments):
            raise ExecError("protoc could not generate the stubs; its message is above")


class Build(build):
    sub_commands: ClassVar = [*build.sub_commands, ("build_stubs", None)]


setup(cmdclass={"build": Build, "build_stubs": BuildStubs})
