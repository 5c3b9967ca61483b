"""The answers as a person reads them."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from freehold_cli.output import out, write_facts, write_line, write_table
from freehold_cli.service import Document
from freehold_cli.status.services import ServiceHealth

_RUNNING_MAX = 5
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def write_report(
    services: list[ServiceHealth], installation: Document | None, faults: list[str]
) -> None:
    """Print the services, the state of tenants where it is known, and what is not well."""
    write_table(
        ["service", "ready", "version", "commit", "remarks"],
        (
            (each.service, each.ready, each.version, each.commit, "; ".join(each.reasons) or None)
            for each in services
        ),
    )
    out.file.write("\n")
    if installation is not None:
        write_facts(_facts(installation))
        out.file.write("\n")
    if not faults:
        write_line("All is well.")
    for fault in faults:
        write_line(f"Not well: {fault}")


def _facts(installation: Document) -> dict[str, str]:
    overview = installation["overview"]
    parked = overview["parked_doorbells"]
    return {
        "tenants": _counts(overview["tenants"]) or "none",
        "lag": "; ".join(_lag(overview["lag"])),
        "backups": "; ".join(_schedule(overview["backups"])),
        "trial restores": "; ".join(_schedule(overview["trials"])),
        "reconciled": _last(overview["reconciliations"]["oldest_at"]),
        "ledgers": "; ".join(_versions(installation)) or "none",
        "parked doorbells": "not known" if parked is None else f"{parked:,}",
        "operations": "; ".join(_operations(installation)),
    }


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _lag(lag: Document) -> Iterator[str]:
    yield f"{lag['events_behind']:,} events behind, at most {lag['seconds_behind']:.3g} s"
    for each in lag["worst"]:
        yield f"{each['tenant_id']} {each['events_behind']:,} ({each['seconds_behind']:.3g} s)"
    if lag["tenants_unasked"]:
        yield f"not asked in time: {lag['tenants_unasked']:,}"


def _schedule(schedule: Document) -> Iterator[str]:
    if not schedule["every_s"]:
        yield "none on a schedule"
    yield _last(schedule["oldest_at"])
    if schedule["tenants_without"]:
        yield f"tenants without one: {schedule['tenants_without']:,}"


def _last(oldest_at: str | None) -> str:
    """Say how old the last one is of the tenant whose last one is the oldest."""
    if oldest_at is None:
        return "none yet"
    age_s = (datetime.now(UTC) - datetime.fromisoformat(oldest_at)).total_seconds()
    unit_s, unit = next(
        ((unit_s, unit) for unit_s, unit in _UNITS if age_s >= 2 * unit_s), _UNITS[-1]
    )
    return f"last at most {max(age_s, 0) / unit_s:.0f} {unit} ago"


def _operations(installation: Document) -> Iterator[str]:
    counts = {name: len(installation[name]) for name in ("running", "queued", "failed")}
    yield _counts(counts) or "none"
    for each in installation["running"][:_RUNNING_MAX]:
        tenant = f" of {each['tenant_id']}" if each["tenant_id"] else ""
        yield f"{each['kind']}{tenant} {each['progress']:.0%}"


def _versions(installation: Document) -> Iterator[str]:
    for each in installation["ledger_versions"]:
        is_current = each["schema_version"] == installation["ledger_version"]
        remark = "" if is_current else f" (this release has {installation['ledger_version']})"
        yield f"{each['tenants']:,} of version {each['schema_version']}{remark}"
