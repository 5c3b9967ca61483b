"""Ingest's metrics."""

from prometheus_client import Counter, Gauge, Histogram

from freehold.observability.metrics import counted_by

EVENTS_APPENDED = Counter("freehold_ingest_events_appended_total", "Events added to ledgers.")
REQUEST_OUTCOMES = Counter(
    "freehold_ingest_requests_total", "Append requests, by what became of them.", ["outcome"]
)
APPEND_REQUESTS = Histogram(
    "freehold_ingest_append_requests",
    "Requests that went together in one append.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
DOORBELLS = counted_by(
    "freehold_ingest_doorbells_total",
    "Doorbells, by what became of them.",
    "result",
    ("confirmed", "unconfirmed"),
)
UNANNOUNCED = Gauge("freehold_ingest_unannounced_tenants", "Tenants with events not announced yet.")
RELAYED = Counter(
    "freehold_ingest_relayed_tenants_total", "Tenants taken over from dead ingest processes."
)
INBOUND_MESSAGES = counted_by(
    "freehold_ingest_inbound_messages_total",
    "Messages of freehold.inbound, by what became of them.",
    "result",
    ("accepted", "refused", "set_aside"),
)
