"""What is not well, of what tenant-manager says of all tenants. Each fault is a sentence."""

from collections.abc import Iterator

from freehold_cli.service import Document

BEHIND_S_MAX = 60
"""Seconds that the state tables of a tenant may be behind their ledger."""


def faults(installation: Document) -> Iterator[str]:
    """Name what is not well in an installation."""
    overview = installation["overview"]
    lag = overview["lag"]
    if lag["tenants_silent"]:
        yield f"{lag['tenants_silent']:,} tenants' databases do not answer"
    if lag["seconds_behind"] > BEHIND_S_MAX:
        yield f"balances are up to {lag['seconds_behind']:,.0f} s behind their ledger"
    yield from _late("backups", overview["backups"])
    yield from _late("trial restores", overview["trials"])
    if overview["backups"]["damaged"]:
        yield f"{overview['backups']['damaged']:,} backups are damaged"
    reconciliations = overview["reconciliations"]
    if reconciliations["tenants_with_findings_count"]:
        named = ", ".join(reconciliations["tenants_with_findings"])
        count = reconciliations["tenants_with_findings_count"]
        yield f"the balances of {count:,} tenants differ from their ledger: {named}"
    if overview["parked_doorbells"]:
        yield f"{overview['parked_doorbells']:,} doorbells are parked: see freehold redrive --help"
    if overview["parked_doorbells"] is None:
        yield "tenant-manager's broker does not answer"
    old = [
        each["tenants"]
        for each in installation["ledger_versions"]
        if each["schema_version"] < installation["ledger_version_min"]
    ]
    if old:
        yield f"{sum(old):,} tenants' ledgers are too old for this release: see freehold migrate"
    for operation in installation["failed"]:
        tenant = f" of {operation['tenant_id']}" if operation["tenant_id"] else ""
        yield f"the {operation['kind']}{tenant} failed: {operation['message']}"


def _late(what: str, schedule: Document) -> Iterator[str]:
    if schedule["tenants_late"]:
        yield f"the {what} of {schedule['tenants_late']:,} tenants are late"
