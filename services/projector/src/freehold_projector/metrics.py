"""Projector's metrics."""

from prometheus_client import Counter, Histogram

EVENTS_PROJECTED = Counter(
    "freehold_projector_events_projected_total", "Events applied to state tables."
)
DOORBELLS = Counter(
    "freehold_projector_doorbells_total", "Doorbells, by what became of them.", ["result"]
)
RETRIES = Counter("freehold_projector_retries_total", "Projections that had to be tried again.")
CALL_EVENTS = Histogram(
    "freehold_projector_call_events",
    "Events that one call of project applied.",
    buckets=(0, 1, 10, 100, 1_000, 10_000, 100_000),
)
RECONCILED = Counter(
    "freehold_projector_reconciliations_total", "Reconciliations, by what they found.", ["result"]
)
HOLD_EXPIRIES = Counter(
    "freehold_projector_hold_expiries_total",
    "Tenants looked at because a hold of theirs was due to expire, by how that ended.",
    ["result"],
)
KEYS_FORGOTTEN = Counter(
    "freehold_projector_keys_forgotten_total", "Expired idempotency keys removed."
)
