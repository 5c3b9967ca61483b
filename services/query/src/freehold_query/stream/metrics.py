"""Metrics of live streams."""

from prometheus_client import Counter, Gauge, Histogram

from freehold.observability.metrics import counted_by

STREAMS = Gauge("freehold_query_streams", "Live streams that are open.")
STREAMS_ENDED = counted_by(
    "freehold_query_streams_ended_total",
    "Live streams that ended, by what; client: it left, or read nothing for too long.",
    "by",
    ("client", "problem", "stop"),
)
STREAM_BALANCES = Counter(
    "freehold_query_stream_balances_total", "Changed balances that were read for live streams."
)
STREAM_CATCH_UPS = Counter(
    "freehold_query_stream_catch_ups_total",
    "Reads for a single stream: it resumes, or was too slow for what all get.",
)
STREAM_LAG_SECONDS = Histogram(
    "freehold_query_stream_lag_seconds",
    "From the acceptance of an event until its balance is sent to the streams.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
