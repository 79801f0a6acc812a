"""What the demo says: claims, each with what was observed; the verdict is never better than the worst of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from ofctl.client import ConfirmationLevel, Port

LEVEL_PREFIX = "CONFIRMATION_LEVEL_"
PLAIN_WIDTH = 200
"""Columns when the output is no terminal: a port stays on one line."""


@dataclass
class Report:
    """Prints as it goes and remembers what was not observed."""

    console: Console = field(default_factory=Console)
    observed: int = 0
    missed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.console.is_terminal:
            self.console = Console(width=PLAIN_WIDTH, highlight=False)

    def chapter(self, title: str) -> None:
        """Begin a part of the demo."""
        self.console.print()
        self.console.print(Text(title, style="bold"))

    def claim(self, holds: bool, claim: str, evidence: str = "") -> bool:
        """State a claim, whether it was observed, and by what. Returns `holds`."""
        line = Text("  ok    " if holds else "  FAIL  ", style="green" if holds else "bold red")
        line.append(claim, style="default")
        if evidence:
            line.append(f"  {evidence}", style="dim")
        self.console.print(line, soft_wrap=True)
        if holds:
            self.observed += 1
        else:
            self.missed.append(claim)
        return holds

    def note(self, text: str) -> None:
        """Say something that is no claim."""
        self.console.print(Text(f"        {text}", style="dim"), soft_wrap=True)

    def port(self, port: Port, *, seconds: float) -> None:
        """Print a plugged port in one line: evidence, stages, and the time that the caller waited."""
        evidence = port.confirmation
        stages = " ".join(f"{timing.stage} {timing.duration_us / 1000:.1f}" for timing in evidence.stages)
        line = Text("        ")
        line.append(f"{port.spec.port_id:<4}", style="bold cyan")
        line.append(f" {port.vif_details.device_name:<15} ofport {evidence.ofport:<3} ifindex {evidence.ifindex:<3}")
        line.append(f" flows {evidence.flow_count} #{evidence.flow_digest[:8]}")
        line.append(f" connection {evidence.connection_generation} barrier {evidence.barrier_xid:#x}")
        line.append(f" {level_name(evidence.level)}", style="green")
        line.append(f"  {stages}", style="dim")
        line.append(f" = {seconds * 1000:.1f} ms", style="bold")
        self.console.print(line, soft_wrap=True)

    def verdict(self, seconds: float) -> int:
        """Print the result and return the exit status: 0 only if every claim was observed."""
        self.console.print()
        if self.missed:
            self.console.print(Text(f"NOT observed ({len(self.missed)} of {self._count}):", style="bold red"))
            for claim in self.missed:
                self.console.print(Text(f"  {claim}"), soft_wrap=True)
            return 1
        self.console.print(Text(f"All {self._count} claims were observed, in {seconds:.1f} s.", style="bold green"))
        return 0

    @property
    def _count(self) -> int:
        return self.observed + len(self.missed)


def level_name(level: ConfirmationLevel.ValueType) -> str:
    """Return the level as DESIGN and CLI write it, such as `DATAPATH`."""
    return ConfirmationLevel.Name(level).removeprefix(LEVEL_PREFIX)


def listed(names: Iterable[str], *, nothing: str = "none") -> str:
    """Return names with commas, or the word for nothing."""
    return ", ".join(sorted(names)) or nothing
