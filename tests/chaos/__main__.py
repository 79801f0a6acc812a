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
        converged_s = storm.run()
        account = storm.account
        print(
            f"seed {arguments.seed}: {account.plugs} plugs, {account.updates} updates, {account.group_changes} changes "
            f"of groups, {account.unplugs} unplugs by {arguments.clients} clients"
        )
        print(f"  faults         {sum(storm.faults.counts.values())}: {dict(sorted(storm.faults.counts.items()))}")
        print(f"  confirmed      {dict(sorted(account.confirmed.items()))}")
        print(f"  failed         {dict(sorted(account.failed.items()))}")
        spent = sorted(account.trial_s) or [0.0]
        print(
            f"  put to test    {len(account.trial_s)} replies, {account.frames} frames (all there: p50 "
            f"{spent[len(spent) // 2] * 1e3:.1f} ms, latest {spent[-1] * 1e3:.0f} ms), {account.excused} excused by a "
            "fault at that moment"
        )
        print(f"  evidence       {account.evidence} times as many flows as ovs-ofctl dumped")
        print(f"  lies           {len(account.lies)} {account.lies[:5]}")
        print(f"  disagreements  {len(account.disagreements)} {account.disagreements[:5]}")
        print(f"  leaks          {storm.leaks or 'none'}")
        restarts = sorted(storm.faults.restarts_ms) or [0.0]
        print(f"  agent restarts p50 {restarts[len(restarts) // 2]:.0f} ms, longest {restarts[-1]:.0f} ms")
        print(f"  converged      {converged_s:.2f} s after the last fault")
        wrong = bool(account.lies or account.disagreements or storm.leaks or converged_s > 5)
        if wrong and arguments.log:
            arguments.log.write_bytes(sandbox.agent_log.read_bytes())
        return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
