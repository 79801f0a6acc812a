"""`ofctl audit`"""

from __future__ import annotations

import click

from ofctl.cli.output import print_json, print_table, say, short
from ofctl.cli.session import EXIT_FINDINGS, Session, agent_options
from ofctl.v1.host_pb2 import AuditResponse, Finding, FindingKind


@click.command()
@click.option("--repair", is_flag=True, help="Mend what differs.")
@agent_options
def audit(session: Session, *, repair: bool) -> None:
    """Compare the whole host (devices, database, flows, groups) with what is meant to be there.

    The exit status is 11 if differences are left. Ports of others on the bridge are named and do not count.
    """
    with session.agent("auditing the host") as agent:
        report = agent.audit(repair=repair)
    if session.as_json:
        print_json(report)
    else:
        _show(report)
    if report.left_count:
        click.get_current_context().exit(EXIT_FINDINGS)


def _show(report: AuditResponse) -> None:
    if report.findings:
        print_table(("FINDING", "PORT", "SUBJECT", "DETAIL", ""), [_row(finding) for finding in report.findings])
    if report.finding_count > len(report.findings):
        say(f"and {report.finding_count - len(report.findings)} more")
    compared = (
        f"{report.ports} ports, {report.devices} devices, {report.rows} rows, {report.flows} flows and "
        f"{report.groups} groups compared"
    )
    found = f"{report.finding_count} findings, {report.left_count} left" if report.finding_count else "all as intended"
    say(f"{compared}: {found}")


def _row(finding: Finding) -> tuple[str, ...]:
    return (
        short(FindingKind.Name(finding.kind), "FINDING_KIND"),
        finding.port_id,
        finding.subject,
        finding.detail,
        "repaired" if finding.repaired else "",
    )
