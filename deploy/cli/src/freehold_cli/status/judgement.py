"""What is not well, of what tenant-manager says of all tenants."""

from collections.abc import Iterator

from freehold_cli.service import Document

BEHIND_S_MAX = 60
"""Seconds that the state tables of a tenant may be behind their ledger."""


def faults(installation: Document) -> Iterator[str]:
    """Name what is not well in an installation."""
    overview = installation["overview"]
    yield from _of_ledgers(overview)
    yield from _of_backups(overview)
    if overview["parked_doorbells"]:
        yield f"parked doorbells: {overview['parked_doorbells']:,} (freehold redrive)"
    if overview["broker"] == "silent":
        yield "tenant-manager's broker does not answer"
    too_old = sum(
        each["tenants"]
        for each in installation["ledger_versions"]
        if each["schema_version"] < installation["ledger_version_min"]
    )
    if too_old:
        yield f"ledgers that are too old for this release: {too_old:,} (freehold migrate)"
    for operation in installation["failed"]:
        tenant = f" of {operation['tenant_id']}" if operation["tenant_id"] else ""
        yield f"the {operation['kind']}{tenant} failed: {operation['message']}"


def _of_ledgers(overview: Document) -> Iterator[str]:
    lag, reconciliations = overview["lag"], overview["reconciliations"]
    if lag["tenants_silent"]:
        yield f"databases that do not answer: {lag['tenants_silent']:,}"
    if lag["seconds_behind"] > BEHIND_S_MAX:
        yield f"balances are behind their ledger, by up to {lag['seconds_behind']:,.0f} s"
    if reconciliations["tenants_with_findings_count"]:
        named = ", ".join(reconciliations["tenants_with_findings"])
        count = reconciliations["tenants_with_findings_count"]
        yield f"tenants whose balances differ from their ledger: {count:,} ({named})"


def _of_backups(overview: Document) -> Iterator[str]:
    for what, schedule in (("backups", "backups"), ("trial restores", "trials")):
        if overview[schedule]["tenants_late"]:
            yield f"tenants whose {what} are late: {overview[schedule]['tenants_late']:,}"
    if overview["backups"]["damaged"]:
        yield f"damaged backups: {overview['backups']['damaged']:,}"
