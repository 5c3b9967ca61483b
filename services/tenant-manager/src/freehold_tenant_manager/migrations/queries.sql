-- Migrations of tenants' ledgers in the catalog (store.py), and their roles (ledger_migration.py).

-- name: find_migrated
SELECT tenant_id
FROM ledger_migrations
WHERE tenant_id = any($1);

-- name: enlist
-- $1 the operation, $2 the phase, $3 the tenants, or null for all.
INSERT INTO tenant_migrations AS m (tenant_id, operation_id, phase)
SELECT
    tenant_id,
    $1 AS operation_id,
    $2 AS phase
FROM ledger_migrations
WHERE $3::text[] IS NULL OR tenant_id = any($3)
ON CONFLICT ON CONSTRAINT tenant_migrations_pkey DO UPDATE
    SET
        operation_id = excluded.operation_id,
        phase = excluded.phase,
        status = 'waiting',
        attempts = 0,
        due_at = now(),
        error = NULL,
        started_at = NULL,
        finished_at = NULL
    WHERE m.operation_id <> excluded.operation_id;

-- name: wait_again
UPDATE tenant_migrations SET status = 'waiting'
WHERE operation_id = $1 AND status = 'running';

-- name: claim
UPDATE tenant_migrations SET
    status = 'running',
    attempts = attempts + 1,
    started_at = coalesce(started_at, now())
WHERE
    tenant_id = (
        SELECT m.tenant_id
        FROM tenant_migrations AS m
        WHERE m.operation_id = $1 AND m.status = 'waiting' AND m.due_at <= now()
        ORDER BY m.due_at, m.tenant_id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
RETURNING tenant_id, attempts;

-- name: put_off
-- $4 the pause, in seconds.
UPDATE tenant_migrations SET
    status = 'waiting',
    attempts = $3,
    due_at = now() + make_interval(secs => $4),
    error = $5
WHERE operation_id = $1 AND tenant_id = $2;

-- name: finish
-- $3 why the migration failed, null where it succeeded.
UPDATE tenant_migrations SET
    error = $3,
    finished_at = now(),
    status = CASE WHEN $3::text IS NULL THEN 'succeeded' ELSE 'failed' END
WHERE operation_id = $1 AND tenant_id = $2;

-- name: strike_off
DELETE FROM tenant_migrations
WHERE operation_id = $1 AND tenant_id = $2;

-- name: is_worked_on
SELECT exists(
    SELECT FROM operations
    WHERE tenant_id = $1 AND status = 'running'
);

-- name: are_complete
-- Whether $1 roles exist, and all may connect to $2 a database.
SELECT bool_and(r.oid IS NOT NULL AND has_database_privilege(r.oid, $2, 'CONNECT')) -- noqa: CP04
FROM unnest($1::text[]) AS n (role_name)
LEFT JOIN pg_roles AS r ON n.role_name = r.rolname;

-- name: count_turns
SELECT
    count(*) FILTER (WHERE status = 'waiting') AS waiting,
    count(*) FILTER (WHERE status = 'running') AS running,
    count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE status = 'failed') AS failed
FROM tenant_migrations
WHERE operation_id = $1;

-- name: list_failed
SELECT tenant_id
FROM tenant_migrations
WHERE operation_id = $1 AND status = 'failed'
ORDER BY tenant_id
LIMIT $2;

-- name: require_services
UPDATE tenants SET services_version_min = $2
WHERE tenant_id = $1 AND services_version_min < $2;

-- name: record_version
WITH changed AS (
    UPDATE tenants SET schema_version = $3
    WHERE tenant_id = $1 AND database_name = $2 AND schema_version <> $3
)

SELECT exists(
    SELECT FROM tenants
    WHERE tenant_id = $1 AND database_name = $2
);

-- name: list
-- $1 the ledger's version, $2 the tenant after which the page begins, $3 a status, or null for all,
-- $4 rows at most.
SELECT *
FROM (
    SELECT
        tenant_id,
        schema_version,
        operation_id,
        phase,
        attempts,
        error,
        started_at,
        finished_at,
        coalesce(status, CASE WHEN schema_version < $1 THEN 'behind' ELSE 'current' END) AS status
    FROM ledger_migrations
    WHERE tenant_id > $2
) AS m
WHERE $3::text IS NULL OR status = $3
ORDER BY tenant_id
LIMIT $4;

-- name: count_versions
SELECT
    schema_version,
    count(*) AS tenants
FROM ledger_migrations
GROUP BY schema_version
ORDER BY schema_version;

-- name: count_statuses
-- $1 the ledger's version.
SELECT
    m.shown_status AS status,
    count(*) AS tenants
FROM (
    SELECT
        coalesce(status, CASE WHEN schema_version < $1 THEN 'behind' ELSE 'current' END)
            AS shown_status
    FROM ledger_migrations
) AS m
GROUP BY m.shown_status;
