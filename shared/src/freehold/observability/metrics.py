"""Metrics that every service has. Names end in their unit, by Prometheus's convention."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram, Info

from freehold.observability.traces import exemplar as active_exemplar

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def counted_by(name: str, documentation: str, label: str, values: Iterable[str]) -> Counter:
    """Make a counter whose label has known values, each counted from 0 on.

    A series that appears with its first count has not increased: no alert would see that count.
    """
    counter = Counter(name, documentation, [label])
    for value in values:
        counter.labels(value)
    return counter


class TracedHistogram(Histogram):
    """A histogram whose buckets each name a trace of what fell into them (an exemplar)."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Observe an amount, in the span that is active."""
        super().observe(amount, exemplar or active_exemplar())


BUILD = Info("freehold_build", "The release that runs: its version and commit.")
CHECK_OK = Gauge(
    "freehold_check_ok",
    "Whether what a check of /readyz asks for is there, 1 or 0; needed: yes, or no.",
    ["check", "needed"],
)
REQUEST_SECONDS = TracedHistogram(
    "freehold_http_request_seconds",
    "How long requests took, by route and status.",
    ["method", "route", "status"],
    buckets=_SECONDS,
)
REQUESTS_REFUSED = counted_by(
    "freehold_http_requests_refused_total",
    "Requests refused before their route, by the setting that limits them.",
    "limit",
    ("all_bodies_bytes_max", "requests_in_flight_max", "request_timeout_s"),
)
LEDGER_CALL_SECONDS = TracedHistogram(
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
CLOCK_DIFFERENCE_SECONDS = Gauge(
    "freehold_clock_difference_seconds",
    "How far the clock of the catalog's server is ahead of this service's, as last seen.",
)
CLOCKS_DISAGREED = Counter(
    "freehold_clocks_disagreed_total",
    "Calls undone since a tenant database's clock and this service's differed by too much.",
)
