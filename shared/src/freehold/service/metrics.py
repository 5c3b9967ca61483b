"""Metrics that every service has. Units last in names, seconds and bytes (Prometheus's rule)."""

from prometheus_client import Counter, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUEST_SECONDS = Histogram(
    "freehold_http_request_seconds",
    "How long requests took, by route and status.",
    ["method", "route", "status"],
    buckets=_SECONDS,
)
REQUESTS_REFUSED = Counter(
    "freehold_http_requests_refused_total",
    "Requests refused at the door, by the setting that is their limit.",
    ["limit"],
)
LEDGER_CALL_SECONDS = Histogram(
    "freehold_ledger_call_seconds",
    "How long calls of the ledger's SQL functions took, waiting for a connection included.",
    ["call"],
    buckets=_SECONDS,
)
TENANT_CONNECTIONS_OPENED = Counter(
    "freehold_tenant_connections_opened_total", "Connections opened to tenants' databases."
)
TENANT_CONNECTION_WAITS = Counter(
    "freehold_tenant_connection_waits_total", "Times that work had to wait for a connection."
)
