"""The command line without an agent."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from ofctl.cli.main import COMMANDS, cli


def test_help_names_every_command_and_imports_none() -> None:
    script = (
        "import sys\n"
        "from ofctl.cli.main import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "heavy = {'grpc', 'rich', 'google', 'os_ken', 'ovs', 'pyroute2', 'oslo_config'}\n"
        "print('imported:', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert done.stdout.endswith("imported: []\n")


def test_the_client_imports_no_switch() -> None:
    script = "import sys, ofctl.client; print(sorted({'os_ken', 'ovs', 'pyroute2', 'oslo_config'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None and command.name == name
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0 and result.output.startswith("Usage: ")
