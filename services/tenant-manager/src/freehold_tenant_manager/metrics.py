"""Metrics of provisioning, operations, migrations, backups, archive, the catalog and usage."""

from math import nan

from prometheus_client import Counter, Gauge, Histogram

from freehold.observability.metrics import counted_by

TENANTS_PROVISIONED = Counter("freehold_tenants_provisioned_total", "Tenants made.")
TENANTS_UNDONE = Counter(
    "freehold_tenants_undone_total", "Creations that were given up half-way, and undone."
)
POOL_DATABASES = Gauge("freehold_pool_databases", "Databases ready for tenants to come.")
POOL_CLAIMS = Counter(
    "freehold_pool_claims_total", "Databases that were ready when their tenant was made."
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
BACKUPS_MADE = Counter("freehold_backups_total", "Backups stored whole.")
BACKUP_BYTES = Counter("freehold_backup_bytes_total", "Bytes stored of backups.")
BACKUPS_REMOVED = Counter("freehold_backups_removed_total", "Backups that were kept long enough.")
ARCHIVED_SEGMENTS = Counter("freehold_archived_segments_total", "Segments stored.")
ARCHIVED_EVENTS = Counter("freehold_archived_events_total", "Events in stored segments.")
ARCHIVED_BYTES = Counter("freehold_archived_bytes_total", "Bytes of stored segments.")
ARCHIVE_FAILURES = Counter(
    "freehold_archive_failures_total", "Times that a tenant's ledger could not be archived."
)
ARCHIVE_DELAY_SECONDS = Histogram(
    "freehold_archive_delay_seconds",
    "From when a segment's first event was recorded until the segment was stored.",
    buckets=(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0, 3_600.0),
)
ARCHIVE_BEHIND_SECONDS = Gauge(
    "freehold_archive_behind_seconds",
    "How long the tenant has waited who waits longest of those that this process is to archive.",
)
RESTORES = counted_by(
    "freehold_restores_total", "Restores done.", "kind", ("preview", "swapped", "recovered")
)
RESTORED_EVENTS = Counter("freehold_restored_events_total", "Events in restored ledgers.")
ARCHIVE_REMOVED = Counter(
    "freehold_archive_segments_removed_total", "Segments removed that no restore needs any more."
)
ARCHIVE_JOINED = Counter(
    "freehold_archive_segments_joined_total", "Small segments that were joined into larger ones."
)
LEDGER_MIGRATIONS_DONE = counted_by(
    "freehold_ledger_migrations_total",
    "Turns that ledgers had in migrations, by how they ended.",
    "outcome",
    ("done", "busy", "gone", "retried", "failed"),
)
CUSTOMER_SESSIONS_ENDED = counted_by(
    "freehold_customer_sessions_ended_total",
    "Customers' sessions ended.",
    "reason",
    ("transaction", "waiting", "change", "notifications", "idle", "many"),
)
NOTIFICATION_QUEUE_USAGE = Gauge(
    "freehold_notification_queue_usage_ratio",
    "How full the server's one queue of notifications is, from 0 to 1.",
)
OPERATORS_REFUSED = Counter(
    "freehold_operators_refused_total",
    "Requests of operators that were refused: token (wrong, revoked or expired), role.",
    ["reason"],
)
CATALOG_SHIPPED = Counter("freehold_catalog_versions_total", "Versions of the catalog stored.")
CATALOG_FAILURES = Counter(
    "freehold_catalog_failures_total", "Times that the catalog could not be shipped."
)
CATALOG_BEHIND_SECONDS = Gauge(
    "freehold_catalog_behind_seconds",
    "Age of the oldest change of the catalog that no stored version has; 0 where there is none.",
)
CATALOG_SHIPPED_AT = Gauge(
    "freehold_catalog_shipped_timestamp_seconds",
    "When the newest stored version of the catalog was read, in Unix time.",
)

# What the sampler saw last. Until then it is not a number, so that no alert fires.
TENANTS = Gauge("freehold_tenants", "Tenants, by their status.", ["status"])
USAGE_SAMPLED_AT = Gauge(
    "freehold_usage_sampled_timestamp_seconds",
    "When all tenants were sampled last, in Unix time; other figures of usage are as old.",
)
PROJECTION_LAG_EVENTS = Gauge(
    "freehold_projection_lag_events", "Events of all tenants that are not projected yet."
)
PROJECTION_LAG_SECONDS = Gauge(
    "freehold_projection_lag_seconds",
    "Age of the oldest event that is not projected yet; 0 where there is none.",
)
ARCHIVE_AGE_SECONDS = Gauge(
    "freehold_archive_age_seconds",
    "Age of the oldest event that is not in the archive yet; 0 where there is none.",
)
BACKUP_OLDEST_AT = Gauge(
    "freehold_backup_oldest_timestamp_seconds",
    "When the newest backup was made of the tenant whose newest is the oldest, in Unix time.",
)
TRIAL_OLDEST_AT = Gauge(
    "freehold_backup_trial_oldest_timestamp_seconds",
    "When a backup was last tried of the tenant whose last trial is the oldest, in Unix time.",
)
BACKUPS_LATE = Gauge(
    "freehold_backup_late_tenants", "Tenants whose newest backup is older than two periods."
)
TRIALS_LATE = Gauge(
    "freehold_backup_trial_late_tenants", "Tenants whose last trial is older than two periods."
)
BACKUPS_DAMAGED = Gauge("freehold_backups_damaged", "Backups that a trial found to be damaged.")
PARKED_DOORBELLS = Gauge(
    "freehold_parked_doorbells", "Doorbells that are parked; not a number where no broker answers."
)
UNKNOWN_AT_FIRST = (
    *(USAGE_SAMPLED_AT, PROJECTION_LAG_EVENTS, PROJECTION_LAG_SECONDS, ARCHIVE_AGE_SECONDS),
    *(BACKUP_OLDEST_AT, TRIAL_OLDEST_AT, BACKUPS_LATE, TRIALS_LATE, BACKUPS_DAMAGED),
    PARKED_DOORBELLS,
)
for gauge in UNKNOWN_AT_FIRST:
    gauge.set(nan)

# One series for each of the most active tenants; all others together are tenant="_rest".
TENANT_EVENTS = Gauge("freehold_tenant_events", "Events in the tenant's ledger.", ["tenant"])
TENANT_EVENTS_RATE = Gauge(
    "freehold_tenant_events_per_second", "Events appended, between two samples.", ["tenant"]
)
TENANT_LAG_SECONDS = Gauge(
    "freehold_tenant_projection_lag_seconds",
    "Age of the tenant's oldest event that is not projected yet. Those furthest behind are named.",
    ["tenant"],
)
TENANT_SIZE_BYTES = Gauge(
    "freehold_tenant_database_size_bytes", "Bytes of the tenant's database.", ["tenant"]
)
TENANT_BUSY = Gauge(
    "freehold_tenant_database_busy_ratio",
    "Seconds of statements in the tenant's database per second, between two samples.",
    ["tenant"],
)
TENANT_CPU_SHARE = Gauge(
    "freehold_tenant_cpu_share_ratio",
    "The tenant's part of what all tenants kept databases and services busy with in a day.",
    ["tenant"],
)
TENANT_ERRORS = Gauge(
    "freehold_tenant_errors",
    "Requests answered 5xx and projections that failed, within a day.",
    ["tenant"],
)
