"""`python -m ofctl.demo`"""

from ofctl.demo.story import run

raise SystemExit(run())
