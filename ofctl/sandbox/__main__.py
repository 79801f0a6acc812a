"""`python -m ofctl.sandbox`: the sandbox's shell."""

import sys

from ofctl.sandbox.shell import run

raise SystemExit(run(sys.argv[1:]))
