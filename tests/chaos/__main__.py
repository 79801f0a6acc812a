"""`python -m tests.chaos`: chaos, as a number."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ofctl.sandbox.isolation import RUN, enter
from ofctl.sandbox.sandbox import Sandbox, StateDirectory
from tests.chaos.storm import Storm

OPTIONS: dict[str, dict[str, object]] = {
    "agent": {"max_ports": 5000, "log_level": "INFO"},
    "openflow": {"timeout_s": 3, "reconnect_max_s": 0.2},
    "ovsdb": {"timeout_s": 3},
}


def main() -> int:
    """Run a storm in a sandbox of its own; return 0 if nothing was a lie and nothing was left."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plugs", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--log", type=Path, help="where the agent's log is copied to when something is wrong")
    arguments = parser.parse_args()
    enter(["-m", "tests.chaos", *sys.argv[1:]])
    with StateDirectory() as state, Sandbox(Path(RUN), options=OPTIONS, state=state) as sandbox:
        storm = Storm(sandbox, seed=arguments.seed, plugs=arguments.plugs, clients=arguments.clients)
        seen, converged_s = storm.run()
        account = storm.account
        leaks = not (seen.as_intended and seen.ports == {"sink", *storm.live})
        print(f"seed {arguments.seed}: {account.plugs} plugs, {account.unplugs} unplugs by {arguments.clients} clients")
        print(f"  faults         {sum(storm.faults.counts.values())}: {dict(sorted(storm.faults.counts.items()))}")
        print(
            f"  confirmed      {dict(sorted(account.confirmed.items()))}, failed {dict(sorted(account.failed.items()))}"
        )
        frames = sorted(account.frame_s) or [0.0]
        print(
            f"  first frame    {len(account.frame_s)} arrived (p50 {frames[len(frames) // 2] * 1e3:.1f} ms, latest "
            f"{frames[-1] * 1e3:.0f} ms), {account.excused} excused by a fault at that moment"
        )
        print(f"  lies           {len(account.lies)} {account.lies[:5]}")
        print(f"  disagreements  {len(account.disagreements)} {account.disagreements[:5]}")
        print(f"  leaks          {'none' if not leaks else seen}")
        restarts = sorted(storm.faults.restarts_ms) or [0.0]
        print(f"  agent restarts p50 {restarts[len(restarts) // 2]:.0f} ms, longest {restarts[-1]:.0f} ms")
        print(f"  converged      {converged_s:.2f} s after the last fault")
        wrong = bool(account.lies or account.disagreements or leaks or converged_s > 5)
        if wrong and arguments.log:
            arguments.log.write_bytes(sandbox.agent_log.read_bytes())
        return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
