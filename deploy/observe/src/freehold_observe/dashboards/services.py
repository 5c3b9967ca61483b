"""The dashboard of single services: what a service does, and what that costs it."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable, Row
from grafana_foundation_sdk.models.dashboard import VariableOption, VariableRefresh

from freehold_observe.dashboards.panels import SOURCE, Query, dashboard, graph, quantiles

_CHOSEN = 'job=~"$service"'
_ROUTES = f'{_CHOSEN}, route=~"/v1/.+"'
_REQUESTS = "freehold_http_request_seconds"


def services() -> Dashboard:
    """Build it."""
    board = dashboard(
        "freehold-services",
        "Freehold: services",
        "Requests, calls of the ledger, connections and processes of the services chosen above.",
    ).with_variable(
        QueryVariable("service")
        .label("service")
        .datasource(SOURCE)
        .query("label_values(freehold_build_info, job)")
        .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(VariableOption(True, "All", "$__all"))
    )
    for rows in (_requests, _ledger_calls, _streams, _processes):
        rows(board)
    return board


def _requests(board: Dashboard) -> None:
    board.with_row(Row("Requests"))
    board.with_panel(
        graph(
            "By route",
            "Requests a second.",
            "reqps",
            Query(
                "{{method}} {{route}}",
                f"sum by (method, route) (rate({_REQUESTS}_count{{{_ROUTES}}}[$__rate_interval]))",
            ),
        )
    )
    board.with_panel(
        graph(
            "By status",
            "Answers a second. 499: the client left before its answer.",
            "reqps",
            Query(
                "{{job}} {{status}}",
                f"sum by (job, status) (rate({_REQUESTS}_count{{{_ROUTES}}}[$__rate_interval]))",
            ),
        )
    )
    board.with_panel(
        graph(
            "How long",
            "From the head of a request until its answer is written.",
            "s",
            *quantiles(_REQUESTS, ["job"], _ROUTES),
        )
    )


def _ledger_calls(board: Dashboard) -> None:
    calls, where = "freehold_ledger_call_seconds", _CHOSEN
    board.with_row(Row("Tenants' databases"))
    board.with_panel(
        graph(
            "Calls of the ledger",
            "Calls a second of the ledger's SQL functions.",
            "ops",
            Query(
                "{{job}} {{call}}",
                f"sum by (job, call) (rate({calls}_count{{{where}}}[$__rate_interval]))",
            ),
        )
    )
    board.with_panel(
        graph(
            "How long calls take",
            "One of a hundred takes longer. Waiting for a connection is included.",
            "s",
            quantiles(calls, ["job", "call"], where)[1],
        )
    )
    board.with_panel(
        graph(
            "Connections",
            "Connections opened a second, and times a second that work waited for one.",
            "ops",
            Query(
                "{{job}} opened",
                f"sum by (job) (rate(freehold_tenant_connections_opened_total{{{where}}}"
                "[$__rate_interval]))",
            ),
            Query(
                "{{job}} waited",
                f"sum by (job) (rate(freehold_tenant_connection_waits_total{{{where}}}"
                "[$__rate_interval]))",
            ),
        )
    )


def _streams(board: Dashboard) -> None:
    board.with_row(Row("Together and live"))
    board.with_panel(
        graph(
            "Requests in one append",
            "How many waiting requests of a tenant are appended together.",
            "none",
            *quantiles("freehold_ingest_append_requests"),
        )
    )
    board.with_panel(
        graph(
            "Live streams",
            "Streams that are open.",
            "none",
            Query("open", "sum(freehold_query_streams)"),
        )
    )
    board.with_panel(
        graph(
            "From an event to the streams",
            "From the acceptance of an event until its balance is sent.",
            "s",
            *quantiles("freehold_query_stream_lag_seconds"),
        )
    )


def _processes(board: Dashboard) -> None:
    board.with_row(Row("Processes"))
    each = "{{job}} {{instance}}"
    board.with_panel(
        graph(
            "CPU",
            "Cores in use. A process uses one at most.",
            "none",
            Query(each, f"rate(process_cpu_seconds_total{{{_CHOSEN}}}[$__rate_interval])"),
        )
    )
    board.with_panel(
        graph(
            "Memory",
            "Memory that is resident.",
            "bytes",
            Query(each, f"process_resident_memory_bytes{{{_CHOSEN}}}"),
        )
    )
    board.with_panel(
        graph(
            "Open files",
            "The share of the files that a process may open. Each connection is one.",
            "percentunit",
            Query(each, f"process_open_fds{{{_CHOSEN}}} / process_max_fds{{{_CHOSEN}}}"),
        )
    )
    board.with_panel(
        graph(
            "Clocks",
            "How far it is from the clock of the catalog's server. Beyond 60 s nothing is written.",
            "s",
            Query(each, f"abs(freehold_clock_difference_seconds{{{_CHOSEN}}})"),
        )
    )
