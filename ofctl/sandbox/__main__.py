"""`python -m ofctl.sandbox [--app=ENTRY]... [COMMAND]`: the sandbox's shell."""

import sys

from ofctl.sandbox.shell import main

raise SystemExit(main(sys.argv[1:]))
