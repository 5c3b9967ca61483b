"""``freehold usage``: what each tenant uses of the installation, and one tenant over time."""

from typing import Annotated

import typer

from freehold_cli.connection import managing
from freehold_cli.options import AsJson, MaybeTenantId
from freehold_cli.output import out, shown_size, shown_time, write_facts, write_json, write_table
from freehold_cli.service import Document

_POINTS_SHOWN = 12


def usage(
    tenant: MaybeTenantId = None,
    order: Annotated[
        str, typer.Option(help="By which field of the JSON; largest first.")
    ] = "cpu_share",
    as_json: AsJson = False,
) -> None:
    """Show what tenants use: size, growth, events, lag, their share of the work, errors, backups.

    Of one tenant, show it over time as well, and the slowest reads. The figures are sampled; the
    guide to operating says how.

    Examples:
        freehold usage --order size_bytes
        freehold usage acme
        freehold usage --json | jq .totals
    """
    with managing(as_json=as_json) as manager:
        if tenant is None:
            found = manager.whole("usage", params={"order": order})
        else:
            found = manager.get("tenants", tenant, "usage")
    if as_json:
        write_json(found)
    elif tenant is None:
        _write_all(found)
    else:
        _write_one(found)


def _write_all(found: Document) -> None:
    totals = found["totals"]
    write_facts(
        {
            "sampled": shown_time(totals["sampled_at"]) or "not yet",
            "tenants": totals["tenants"],
            "events": f"{totals['events']:,}, {totals['events_per_s']:.3g}/s",
            "behind": _behind(totals),
            "size": f"{shown_size(totals['size_bytes'])}, {_growth(totals)}",
            "archive behind": f"{totals['archive_behind_s']:.3g} s",
            "parked doorbells": totals["parked_doorbells"],
        }
    )
    out.file.write("\n")
    write_table(
        [
            *("tenant", "events", "events/s", "accounts", "behind", "size", "a day", "cpu"),
            *("sessions", "errors", "slowest read", "last backup"),
        ],
        ([each["tenant_id"], *_cells(each)] for each in found["data"]),
    )


def _cells(usage: Document) -> list[object]:
    return [
        usage["events"],
        _rounded(usage["events_per_s"], ""),
        usage["accounts"],
        _behind(usage),
        shown_size(usage["size_bytes"]),
        _growth(usage),
        f"{usage['cpu_share']:.0%}",
        usage["connections"],
        usage["errors"],
        _rounded(usage["slowest_read_s"], " s"),
        shown_time(usage["last_backup_at"]),
    ]


def _write_one(found: Document) -> None:
    usage = found["usage"]
    write_facts(
        {
            "tenant": usage["tenant_id"],
            "status": usage["status"],
            "sampled": shown_time(usage["sampled_at"]) or "not yet",
            "events": usage["events"],
            "events per s": _rounded(usage["events_per_s"], ""),
            "accounts": usage["accounts"],
            "behind": _behind(usage),
            "size": f"{shown_size(usage['size_bytes'])} ({usage['size_share']:.1%} of all)",
            "growth": _growth(usage),
            "work in a day": f"{usage['database_s']:.3g} s of the database,"
            f" {usage['services_s']:.3g} s of services ({usage['cpu_share']:.1%} of all)",
            "requests in a day": f"{usage['requests']:,}, {usage['errors']:,} failed",
            "sessions": usage["connections"],
            "last backup": shown_time(usage["last_backup_at"]),
            "last trial": shown_time(usage["last_trial_at"]),
            "archive behind": _rounded(usage["archive_behind_s"], " s"),
        }
    )
    if found["series"]:
        out.file.write("\n")
        write_table(
            ["sampled", "events", "behind", "size", "database s", "requests", "errors"],
            (
                [
                    shown_time(point["sampled_at"]),
                    point["events"],
                    _behind(point),
                    shown_size(point["size_bytes"]),
                    _rounded(point["database_s"], ""),
                    point["requests"],
                    point["errors"],
                ]
                for point in found["series"][-_POINTS_SHOWN:]
            ),
        )
    if found["slowest_reads"]:
        out.file.write("\n")
        write_table(
            ["slow read", "seconds", "rows", "at"],
            (
                [
                    each["call"],
                    _rounded(each["seconds"], ""),
                    each["rows"],
                    shown_time(each["read_at"]),
                ]
                for each in found["slowest_reads"]
            ),
        )


def _behind(usage: Document) -> str | None:
    if usage["events_behind"] is None:
        return None
    return f"{usage['events_behind']:,} ({usage['seconds_behind']:.3g} s)"


def _growth(usage: Document) -> str | None:
    growth = usage["growth_bytes_per_day"]
    if growth is None:
        return None
    return f"{'-' if growth < 0 else '+'}{shown_size(round(abs(growth)))}"


def _rounded(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value:.3g}{unit}"
