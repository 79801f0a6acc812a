"""Both names of os-ken lead to the same modules. In a process of its own: an alias stays for a process's life."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROLOGUE = "from ofctl.ryu import alias; alias.install()\n"


def run(text: str, cwd: Path) -> None:
    argv = [
        sys.executable,
        "-W",
        "error::ImportWarning",
        "-c",
        f"import sys; sys.path.insert(0, '.')\n{PROLOGUE}{text}",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def test_ryu_is_os_ken(tmp_path: Path) -> None:
    run(
        """
from ryu.base import app_manager
from ryu.base.app_manager import RyuApp
import ryu.lib.packet.ethernet, ryu.ofproto.ofproto_v1_3_parser as parser
from ryu.controller import dpset, ofp_event
from ryu.lib import dpid, hub, mac, ofctl_v1_3, stplib
from ryu.topology import api
from ryu.exception import RyuException
from ryu import cfg
import os_ken.base.app_manager, os_ken.ofproto.ofproto_v1_3_parser, os_ken.controller.ofp_event
assert app_manager is os_ken.base.app_manager and RyuApp is os_ken.base.app_manager.OSKenApp is app_manager.RyuApp
assert parser is os_ken.ofproto.ofproto_v1_3_parser and ofp_event is os_ken.controller.ofp_event
assert app_manager.__spec__.name == "os_ken.base.app_manager"
""",
        tmp_path,
    )


def test_what_os_ken_dropped_is_supplied_or_found_beside_the_application(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("from ryu.base import app_manager\nclass N(app_manager.RyuApp): pass\n")
    run(
        """
from ryu.app.wsgi import ControllerBase, Response, WSGIApplication, route
import ofctl.ryu.wsgi
assert WSGIApplication is ofctl.ryu.wsgi.WSGIApplication
from ryu.app import conf_switch_key, neighbour
import neighbour as itself
assert itself is neighbour
import ryu.app.ofctl.api, os_ken.app.ofctl.api
assert ryu.app.ofctl.api is os_ken.app.ofctl.api
try:
    import ryu.app.absent
except ModuleNotFoundError:
    pass
else:
    raise AssertionError("found what is not there")
""",
        tmp_path,
    )
