-- Tenants in the catalog (see store.py).

-- name: find
SELECT * -- noqa: AM04
FROM tenant_rows
WHERE tenant_id = $1;

-- name: list
-- $1 the id after which the page begins, $2 rows at most, $3 a status, or null for all.
SELECT * -- noqa: AM04
FROM tenant_rows
WHERE tenant_id > $1 AND ($3::text IS NULL OR status = $3)
ORDER BY tenant_id
LIMIT $2;

-- name: lock
SELECT FROM tenants
WHERE tenant_id = $1
FOR NO KEY UPDATE;

-- name: list_abandoned
-- $1 the age of the creation, in seconds.
SELECT tenant_id
FROM tenants
WHERE status = 'provisioning' AND created_at < now() - make_interval(secs => $1)
ORDER BY created_at;

-- name: add
INSERT INTO tenants (
    tenant_id, name, region, isolation, status, cluster, database_name, schema_name, schema_version
) VALUES ($1, $2, $3, $4, 'provisioning', $5, $6, $7, $8);

-- name: activate
UPDATE tenants SET status = 'active', services_version_min = $2
WHERE tenant_id = $1;

-- name: set_status
UPDATE tenants SET status = $2
WHERE tenant_id = $1;

-- name: reconcile_first
-- $2 the earliest time from now, in seconds; tenants made together are not reconciled together.
INSERT INTO reconciliations (tenant_id, due_at)
VALUES ($1, now() + make_interval(secs => $2 * (1 + random())))
ON CONFLICT ON CONSTRAINT reconciliations_pkey DO NOTHING;

-- name: limit
UPDATE tenants SET ingest_events_per_s = $2, ingest_requests_max = $3
WHERE tenant_id = $1;

-- name: remove_credentials
DELETE FROM credentials AS c
USING tenants AS t
WHERE c.database_name = t.database_name AND t.tenant_id = $1 AND t.status = 'provisioning';

-- name: remove
DELETE FROM tenants
WHERE tenant_id = $1 AND status = 'provisioning';

-- name: find_reconciliation
SELECT
    reconciled_at,
    findings,
    epoch,
    anchor_seq,
    anchor_hash
FROM reconciliations
WHERE tenant_id = $1;

-- name: list_regions
SELECT
    region,
    array_agg(cluster ORDER BY cluster) AS clusters
FROM clusters
WHERE region > $1
GROUP BY region
ORDER BY region
LIMIT $2;
