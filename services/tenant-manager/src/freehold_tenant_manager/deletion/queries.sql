-- The catalog's side of a deletion (see store.py).

-- name: begin
UPDATE tenants SET status = 'deleting'
WHERE tenant_id = $1 AND status IN ('active', 'suspended');

-- name: revoke_keys
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())
WHERE tenant_id = $1;

-- name: forget_passwords
DELETE FROM credentials AS c
USING tenants AS t
WHERE c.database_name = t.database_name AND t.tenant_id = $1;

-- name: forget_work
WITH reconciliation AS (
    DELETE FROM reconciliations
    WHERE tenant_id = $1
),

hold_expiry AS (
    DELETE FROM hold_expiries
    WHERE tenant_id = $1
)

DELETE FROM announcement_leases
WHERE tenant_id = $1;

-- name: forget_usage
WITH usage AS (
    DELETE FROM tenant_usage
    WHERE tenant_id = $1
),

samples AS (
    DELETE FROM usage_samples
    WHERE tenant_id = $1
),

traffic AS (
    DELETE FROM tenant_traffic
    WHERE tenant_id = $1
)

DELETE FROM slow_reads
WHERE tenant_id = $1;

-- name: finish
UPDATE tenants SET status = 'deleted', deleted_at = now()
WHERE tenant_id = $1 AND status = 'deleting';
