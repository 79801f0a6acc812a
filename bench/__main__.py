"""`python -m bench [--full]`: the figures of a plug, measured in a sandbox of its own."""

from __future__ import annotations

import sys

from bench.plug import run

raise SystemExit(run(full="--full" in sys.argv[1:]))
