"""The dashboard of the whole installation: is all well, and is everything on time?"""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from freehold_observe.dashboards.panels import Query, dashboard, figure, graph, quantiles

_APPENDS = 'job="ingest", method=~"POST|PUT", route=~"/v1/.+", route!="/v1/events/import"'
_READS = 'job="query", route=~"/v1/accounts/.+/balances.*"'
_REQUESTS = "freehold_http_request_seconds_count"


def installation() -> Dashboard:
    """Build it."""
    board = dashboard(
        "freehold-installation",
        "Freehold: installation",
        "Objectives, health, traffic, lag and storage of all services together.",
    )
    for rows in (_objectives, _health, _traffic, _lag, _storage):
        rows(board)
    return board


def _objectives(board: Dashboard) -> None:
    board.with_row(Row("Objectives"))
    board.with_panel(
        figure(
            "Error budget used",
            "Of what may be bad in three days, the share that was. Above 100 % the objective is"
            " missed. services/guides/alerts.md defines the objectives.",
            "percentunit",
            Query("{{slo}}", "slo:bad:ratio_rate3d / (1 - slo:objective:ratio)"),
            bad_from=1,
        ).span(16)
    )
    board.with_panel(
        figure(
            "Alerts",
            "Alerts that fire now. Each has a runbook in services/guides/alerts.md.",
            "none",
            Query("firing", 'count(ALERTS{alertstate="firing"}) or vector(0)'),
            bad_from=1,
        )
    )
    board.with_panel(
        figure(
            "Releases",
            "Releases that run. Two for longer than a deploy takes: it has stopped half-way.",
            "none",
            Query("running", "count(count by (version, commit) (freehold_build_info))"),
            bad_from=2,
        )
    )
    board.with_panel(
        graph(
            "Bad, of the last hour",
            "The share of requests, projections and reads that missed their objective.",
            "percentunit",
            Query("{{slo}}", "slo:bad:ratio_rate1h"),
        ).span(24)
    )


def _health(board: Dashboard) -> None:
    board.with_row(Row("Health"))
    board.with_panel(
        graph(
            "Processes that answer",
            "Fewer than there should be: one is down.",
            "none",
            Query("{{job}}", 'sum by (job) (up{job=~"ingest|projector|query|tenant-manager"})'),
        )
    )
    board.with_panel(
        graph(
            "Checks that fail",
            "What /readyz of the processes lacks.",
            "none",
            Query("{{job}} {{check}}", "sum by (job, check) (freehold_check_ok == bool 0)"),
        )
    )
    board.with_panel(
        graph(
            "Failed requests",
            "Answers with 5xx a second.",
            "reqps",
            Query(
                "{{job}} {{status}}",
                f'sum by (job, status) (rate({_REQUESTS}{{status=~"5.."}}[$__rate_interval]))'
                " or vector(0)",
            ),
        )
    )


def _traffic(board: Dashboard) -> None:
    board.with_row(Row("Traffic"))
    board.with_panel(
        graph(
            "Requests",
            "Requests a second, health and metrics aside.",
            "reqps",
            Query(
                "{{job}}", f'sum by (job) (rate({_REQUESTS}{{route=~"/v1/.+"}}[$__rate_interval]))'
            ),
        )
    )
    board.with_panel(
        graph(
            "Events",
            "Events a second that were added to ledgers, and those that came to be balances.",
            "ops",
            Query("appended", "sum(rate(freehold_ingest_events_appended_total[$__rate_interval]))"),
            Query(
                "projected",
                "sum(rate(freehold_projector_events_projected_total[$__rate_interval]))",
            ),
        )
    )
    board.with_panel(
        graph(
            "Refused before their route",
            "Requests beyond a setting of that name. A tenant's own limit is answered 429.",
            "reqps",
            Query(
                "{{limit}}",
                "sum by (limit) (rate(freehold_http_requests_refused_total[$__rate_interval]))",
            ),
        )
    )
    board.with_panel(
        graph(
            "Appends",
            "How long requests to ingest take, imports aside.",
            "s",
            *quantiles("freehold_http_request_seconds", where=_APPENDS),
        )
    )
    board.with_panel(
        graph(
            "Reads of balances",
            "How long they take.",
            "s",
            *quantiles("freehold_http_request_seconds", where=_READS),
        )
    )
    board.with_panel(
        graph(
            "Messages in",
            "Messages of freehold.inbound a second, by what became of them.",
            "ops",
            Query(
                "{{result}}",
                "sum by (result) (rate(freehold_ingest_inbound_messages_total[$__rate_interval]))",
            ),
        )
    )


def _lag(board: Dashboard) -> None:
    board.with_row(Row("Lag"))
    board.with_panel(
        graph(
            "From an event to its balance",
            "From the acceptance of an event until its balances are visible.",
            "s",
            *quantiles("freehold_projector_lag_seconds"),
        )
    )
    board.with_panel(
        graph(
            "Doorbells",
            "Doorbells a second, by what became of them. A parked one needs somebody.",
            "ops",
            Query(
                "{{result}}",
                "sum by (result) (rate(freehold_projector_doorbells_total[$__rate_interval]))",
            ),
        )
    )
    board.with_panel(
        graph(
            "Tenants not announced",
            "Tenants whose events wait for the broker to take their doorbells.",
            "none",
            Query("tenants", "sum(freehold_ingest_unannounced_tenants)"),
        )
    )


def _storage(board: Dashboard) -> None:
    board.with_row(Row("Storage"))
    board.with_panel(
        graph(
            "Not in the storage yet",
            "How long the oldest event, and the oldest change of the catalog, have waited.",
            "s",
            Query("events", "max(freehold_archive_behind_seconds)"),
            Query("catalog", "max(freehold_catalog_behind_seconds)"),
        )
    )
    board.with_panel(
        graph(
            "Tries that failed",
            "Failed tries to store events, or the catalog, in an hour.",
            "none",
            Query("events", "sum(increase(freehold_archive_failures_total[1h]))"),
            Query("catalog", "sum(increase(freehold_catalog_failures_total[1h]))"),
        )
    )
    board.with_panel(
        graph(
            "Stored",
            "Bytes a second that go to the storage.",
            "Bps",
            Query("events", "sum(rate(freehold_archived_bytes_total[$__rate_interval]))"),
            Query("backups", "sum(rate(freehold_backup_bytes_total[$__rate_interval]))"),
        )
    )
    board.with_panel(
        graph(
            "Operations",
            "Backups, restores, migrations and others that are being worked on.",
            "none",
            Query("{{kind}}", "sum by (kind) (freehold_operations_running) or vector(0)"),
        )
    )
    board.with_panel(
        graph(
            "Databases in the pool",
            "Databases that are ready for tenants to come.",
            "none",
            Query("ready", "max(freehold_pool_databases)"),
        )
    )
    board.with_panel(
        graph(
            "Reconciliations",
            "Tenants compared with their ledgers in an hour. One that differs needs somebody now.",
            "none",
            Query(
                "{{result}}",
                "sum by (result) (increase(freehold_projector_reconciliations_total[1h]))",
            ),
        )
    )
