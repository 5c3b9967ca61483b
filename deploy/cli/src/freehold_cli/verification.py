"""``freehold verify``: proof that a tenant's ledger is whole, asked of the running Freehold."""

import typer

from freehold_cli.connection import managing
from freehold_cli.errors import ExitCode
from freehold_cli.operations import finish
from freehold_cli.options import AsJson, NoWait, TenantId
from freehold_cli.output import write_facts, write_message, write_table
from freehold_cli.service import Document


def verify(tenant: TenantId, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Recompute a tenant's hash chain, compare balances with it, and it with the head kept outside.

    Exits with 1 where anything does not fit.

    Examples:
        freehold verify acme
    """
    with managing(as_json=as_json) as manager:
        operation = manager.post("tenants", tenant, "verify")
        operation = finish(manager, operation, no_wait=no_wait, as_json=as_json, show=_show)
    result = operation["result"] or {}
    if result.get("ok") is False:
        raise typer.Exit(ExitCode.REJECTED)


def _show(result: Document) -> None:
    head = result["head"]
    write_facts(
        {
            "whole": result["ok"],
            "events": head["seq"],
            "head_hash": head["hash"],
            "anchor": result["anchor_seq"],
            "findings": result["findings_count"],
        }
    )
    findings = result["findings"]
    if findings:
        names = list(dict.fromkeys(name for finding in findings for name in finding))
        write_table(names, ([finding.get(name) for name in names] for finding in findings))
    if result["findings_count"] > len(findings):
        write_message(f"… and {result['findings_count'] - len(findings):,} more")
