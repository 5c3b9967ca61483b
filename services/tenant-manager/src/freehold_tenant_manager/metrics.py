"""Metrics of provisioning and of operations."""

from prometheus_client import Counter, Gauge, Histogram

TENANTS_PROVISIONED = Counter("freehold_tenants_provisioned_total", "Tenants made.")
TENANTS_UNDONE = Counter(
    "freehold_tenants_undone_total", "Creations that were given up half-way, and undone."
)
PROVISIONING_SECONDS = Histogram(
    "freehold_tenant_provisioning_seconds",
    "How long making a tenant took, failures included, waiting for a turn excluded.",
    buckets=(0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
OPERATIONS_RUNNING = Gauge(
    "freehold_operations_running", "Operations that this process works on.", ["kind"]
)
OPERATION_SECONDS = Histogram(
    "freehold_operation_seconds",
    "How long this process worked on an operation, however it ended.",
    ["kind"],
    buckets=(0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0),
)
