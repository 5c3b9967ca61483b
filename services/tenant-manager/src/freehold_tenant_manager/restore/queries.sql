-- Queries of restores: their databases (retired_databases.py), the swap (swap.py), and the restored
-- ledger (examination.py, replay.py).

-- name: register_database
-- $1 database, $2 tenant, $3 epoch, $4 operation.
INSERT INTO retired_databases (database_name, tenant_id, kind, epoch, operation_id)
VALUES ($1, $2, 'making', $3, $4);

-- name: list_retired
-- $1 tenant, $2 the database after which the list begins, or null, $3 rows at most.
SELECT
    f.database_name,
    f.kind,
    f.epoch,
    f.restored_to,
    f.created_at
FROM retired_databases AS f
WHERE
    f.tenant_id = $1
    AND ($2::text IS NULL OR (f.created_at, f.database_name) > (
        SELECT
            a.created_at,
            a.database_name
        FROM retired_databases AS a
        WHERE a.tenant_id = $1 AND a.database_name = $2
    ))
ORDER BY f.created_at, f.database_name
LIMIT $3;

-- name: is_in_use
-- $1 tenant, $2 database. No row without one; true while an operation is still making it.
SELECT
    f.kind = 'making' AND EXISTS (
        SELECT FROM operations AS o
        WHERE o.operation_id = f.operation_id AND o.status IN ('queued', 'running')
    ) AS is_in_use
FROM retired_databases AS f
WHERE f.tenant_id = $1 AND f.database_name = $2;

-- name: list_abandoned
SELECT
    f.tenant_id,
    f.database_name
FROM retired_databases AS f
WHERE
    f.kind = 'making'
    AND NOT EXISTS (
        SELECT FROM operations AS o
        WHERE o.operation_id = f.operation_id AND o.status IN ('queued', 'running')
    )
ORDER BY f.created_at;

-- name: keep_preview
UPDATE retired_databases
SET
    kind = 'preview',
    restored_to = $2
WHERE database_name = $1;

-- name: forget_database
WITH forgotten AS (
    DELETE FROM credentials
    WHERE database_name = $1
)

DELETE FROM retired_databases
WHERE database_name = $1;

-- name: adopt_database
DELETE FROM retired_databases
WHERE database_name = $1;

-- name: move_tenant
-- $1 tenant, $2 old database, $3 old epoch, $4 to $7 the new database, epoch and versions.
UPDATE tenants
SET
    database_name = $4,
    epoch = $5,
    schema_version = $6,
    services_version_min = greatest(services_version_min, $7),
    recovering = false
WHERE tenant_id = $1 AND database_name = $2 AND epoch = $3
RETURNING true;

-- name: retire_database
-- $1 tenant, $2 database, $3 epoch.
INSERT INTO retired_databases (database_name, tenant_id, kind, epoch)
VALUES ($2, $1, 'former', $3);

-- name: begin_epoch
-- $1 tenant, $2 epoch, $3 parent, $4 the instant it stands for, $5 to $8 the position it starts at.
INSERT INTO tenant_epochs (
    tenant_id, epoch, started_at, parent_epoch, start_at, start_seq, start_change,
    archived_seq, archived_event_id, archived_hash, archived_change
)
VALUES ($1, $2, clock_timestamp(), $3, $4, $5, $8, $5, $6, $7, $8);

-- name: reset_anchor
-- $1 tenant, $2 epoch, $3 seq, $4 hash. The old history's anchor does not hold for the new one.
UPDATE reconciliations
SET
    epoch = $2,
    anchor_seq = $3,
    anchor_hash = $4,
    due_at = now()
WHERE tenant_id = $1;

-- name: analyze_command
-- Names the ledger's tables: for a whole database Postgres logs a warning per system table.
SELECT 'ANALYZE ' || string_agg(oid::regclass::text, ', ')
FROM pg_class
WHERE
    relkind IN ('r', 'p')
    AND NOT relispartition
    AND relnamespace = 'ledger'::regnamespace;

-- name: last_change
-- The last change of rules that the restored ledger has.
SELECT coalesce(max(change_id), 0)
FROM rule_changes;
