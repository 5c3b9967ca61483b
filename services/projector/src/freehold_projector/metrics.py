"""Projector's metrics."""

from prometheus_client import Counter, Histogram

from freehold.observability.metrics import counted_by

EVENTS_PROJECTED = Counter(
    "freehold_projector_events_projected_total", "Events applied to state tables."
)
DOORBELLS = counted_by(
    "freehold_projector_doorbells_total",
    "Doorbells, by what became of them; superseded: a newer one of the tenant stands for it.",
    "result",
    ("served", "superseded", "parked"),
)
RETRIES = Counter("freehold_projector_retries_total", "Projections that had to be tried again.")
CALL_EVENTS = Histogram(
    "freehold_projector_call_events",
    "Events that one call of project applied.",
    buckets=(0, 1, 10, 100, 1_000, 10_000, 100_000),
)
LAG_SECONDS = Histogram(
    "freehold_projector_lag_seconds",
    "From the acceptance of the newest event that a call applied until its balances were visible.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0),
)
RECONCILED = counted_by(
    "freehold_projector_reconciliations_total",
    "Reconciliations, by what they found.",
    "result",
    ("ok", "differs"),
)
HOLD_EXPIRIES = counted_by(
    "freehold_projector_hold_expiries_total",
    "Tenants looked at because a hold of theirs was due to expire, by how that ended.",
    "result",
    ("ok", "failed"),
)
KEYS_FORGOTTEN = Counter(
    "freehold_projector_keys_forgotten_total", "Expired idempotency keys removed."
)
