"""The dashboard of tenants: who uses what, who is late, and whose backups are."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from freehold_observe.dashboards.panels import Query, dashboard, figure, graph, ranking

_REST = "_rest"


def tenants() -> Dashboard:
    """Build it."""
    board = dashboard(
        "freehold-tenants",
        "Freehold: tenants",
        "The most active tenants, and all others together as _rest. FREEHOLD_METRICS_TENANTS_MAX"
        " says how many are named; `freehold usage` lists all.",
    )
    for rows in (_all_tenants, _most, _over_time):
        rows(board)
    return board


def _all_tenants(board: Dashboard) -> None:
    board.with_row(Row("All tenants"))
    figures = (
        ("Tenants", "By status.", "none", "{{status}}", "max by (status) (freehold_tenants)", None),
        (
            "Furthest behind",
            "Age of the oldest event that is not in its balance yet.",
            "s",
            "behind",
            "max(freehold_projection_lag_seconds)",
            60,
        ),
        (
            "Not in the archive",
            "Age of the oldest event that a restore would lack.",
            "s",
            "behind",
            "max(freehold_archive_age_seconds)",
            60,
        ),
        (
            "Backups late",
            "Tenants whose newest backup is older than two periods.",
            "none",
            "tenants",
            "max(freehold_backup_late_tenants)",
            1,
        ),
        (
            "Trials late",
            "Tenants whose last restore on trial is older than two periods.",
            "none",
            "tenants",
            "max(freehold_backup_trial_late_tenants)",
            1,
        ),
        (
            "Parked doorbells",
            "Doorbells that projector gave up: mend the cause, then `freehold redrive`.",
            "none",
            "parked",
            "max(freehold_parked_doorbells)",
            1,
        ),
    )
    for title, meaning, unit, name, expression, bad_from in figures:
        board.with_panel(figure(title, meaning, unit, Query(name, expression), bad_from=bad_from))


def _most(board: Dashboard) -> None:
    board.with_row(Row("Who uses most"))
    rankings = (
        (
            "Share of the cost",
            "Their part of what all tenants kept databases and services busy with in a day.",
            "percentunit",
            "freehold_tenant_cpu_share_ratio",
        ),
        ("Size", "Bytes of their databases.", "bytes", "freehold_tenant_database_size_bytes"),
        ("Events", "Events in their ledgers.", "none", "freehold_tenant_events"),
        (
            "Lag",
            "Age of their oldest event that is not in its balance yet.",
            "s",
            "freehold_tenant_projection_lag_seconds",
        ),
        (
            "Errors",
            "Requests answered with 5xx, and projections that failed, within a day.",
            "none",
            "freehold_tenant_errors",
        ),
        (
            "Busy",
            "Seconds of statements in their databases a second.",
            "percentunit",
            "freehold_tenant_database_busy_ratio",
        ),
    )
    for title, meaning, unit, metric in rankings:
        most = f'sort_desc(topk(20, max by (tenant) ({metric}{{tenant!="{_REST}"}})))'
        board.with_panel(ranking(title, meaning, unit, Query("{{tenant}}", most)))


def _over_time(board: Dashboard) -> None:
    board.with_row(Row("Over time"))
    board.with_panel(
        graph(
            "Events",
            "Events a second that were appended.",
            "ops",
            Query("{{tenant}}", "max by (tenant) (freehold_tenant_events_per_second)"),
        )
    )
    board.with_panel(
        graph(
            "Size",
            "Bytes of the databases.",
            "bytes",
            Query("{{tenant}}", "max by (tenant) (freehold_tenant_database_size_bytes)"),
        )
    )
    board.with_panel(
        graph(
            "Age of backups",
            "Of the tenant whose newest backup, or last restore on trial, is the oldest.",
            "s",
            Query("backup", "time() - max(freehold_backup_oldest_timestamp_seconds)"),
            Query("trial", "time() - max(freehold_backup_trial_oldest_timestamp_seconds)"),
        )
    )
