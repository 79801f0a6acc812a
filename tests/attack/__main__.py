"""`python -m tests.attack`: every attempt with what became of it, and how many passed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.attack.attempt import FAMILIES

ORDER = ("IPv4", "IPv6", FAMILIES[0])


class Report:
    """A plugin that takes down what became of the attempts (`record_property` in `test_attempts`)."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str, str]] = []
        """Attempt, family, what stops it, what became of it without that, what became of it."""
        self.broken: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = {name: str(value) for name, value in report.user_properties}
        if report.when == "call" and "attempt" in told:
            parts = (told.get(part, "unknown") for part in ("attempt", "family", "stopper", "without", "with"))
            self.rows.append((*parts,))  # type: ignore[arg-type]
        if report.failed:
            self.broken.append(report.nodeid)

    def __str__(self) -> str:
        width = max((len(row[0]) for row in self.rows), default=0)
        lines = [f"{row[0]:{width}}  {row[1]:4}  {row[2]:14}  {row[3]:7}  {row[4]}" for row in self.rows]
        title = f"{'attempt':{width}}  IP    {'stopped by':14}  without  with it"
        made, passed = Counter(row[1] for row in self.rows), Counter(row[1] for row in self.rows if row[4] != "stopped")
        counts = ", ".join(f"{family} {made[family]}" for family in ORDER)
        return "\n".join([title, *lines, "", f"attempts {len(self.rows)} ({counts}), passed {passed.total()}"])


def main(arguments: Sequence[str]) -> int:
    """Run the suite and print the report; return 0 if no attempt passed and no test failed."""
    report = Report()
    status = pytest.main([str(Path(__file__).parent), "--no-header", "-q", *arguments], plugins=[report])
    sys.stdout.write(f"\n{report}\n")
    for test in report.broken:
        sys.stdout.write(f"failed: {test}\n")
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
