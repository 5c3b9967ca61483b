-- Queries of the overview, in the catalog (store.py).

-- name: count_tenants
SELECT
    status,
    count(*) AS tenants
FROM tenants
GROUP BY status;

-- name: list_living
-- Those that ingest may be writing for come first.
SELECT t.tenant_id
FROM tenants AS t
WHERE t.status IN ('active', 'suspended')
ORDER BY
    NOT EXISTS (
        SELECT FROM announcement_leases AS l
        WHERE l.tenant_id = t.tenant_id
    ),
    t.tenant_id;

-- name: summarise_backups
-- $1 and $2 seconds after which a tenant's last backup, and last trial, is late; null for never.
WITH made AS (
    SELECT
        t.tenant_id,
        t.created_at,
        min(b.created_at) AS first_backup_at,
        max(b.created_at) FILTER (WHERE b.status = 'complete') AS backup_at,
        max(b.verified_at) AS trial_at,
        count(*) FILTER (WHERE b.status = 'damaged') AS damaged
    FROM tenants AS t
    LEFT JOIN backups AS b ON t.tenant_id = b.tenant_id AND b.status IN ('complete', 'damaged')
    WHERE t.status IN ('active', 'suspended')
    GROUP BY t.tenant_id, t.created_at
)

SELECT
    min(backup_at) AS oldest_backup_at,
    count(*) FILTER (WHERE backup_at IS NULL) AS without_backup,
    count(*) FILTER (
        WHERE coalesce(backup_at, created_at) < now() - make_interval(secs => $1)
    ) AS late_backup,
    min(trial_at) AS oldest_trial_at,
    count(*) FILTER (WHERE trial_at IS NULL) AS without_trial,
    count(*) FILTER (
        WHERE coalesce(trial_at, first_backup_at) < now() - make_interval(secs => $2)
    ) AS late_trial,
    coalesce(sum(damaged), 0)::bigint AS damaged
FROM made;

-- name: summarise_reconciliations
-- $1 tenants with findings at most.
WITH done AS (
    SELECT
        r.tenant_id,
        r.reconciled_at,
        r.findings <> '[]'::jsonb AS differs
    FROM reconciliations AS r
    INNER JOIN tenants AS t ON r.tenant_id = t.tenant_id
    WHERE t.status IN ('active', 'suspended') AND r.reconciled_at IS NOT NULL
)

SELECT
    min(reconciled_at) AS oldest_at,
    count(*) FILTER (WHERE differs) AS tenants_with_findings_count,
    array(
        SELECT d.tenant_id FROM done AS d
        WHERE d.differs
        ORDER BY d.tenant_id
        LIMIT $1
    ) AS tenants_with_findings
FROM done;
