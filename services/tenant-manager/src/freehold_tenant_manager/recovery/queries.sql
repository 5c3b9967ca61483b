-- Queries of a catalog that is shipped (snapshot.py) or was loaded on a new server (store.py).

-- name: find_occupation
SELECT
    i.recovered_version,
    (SELECT count(*) FROM catalog.tenants) AS tenants,
    (SELECT count(*) FROM catalog.pool_databases) AS pool_databases
FROM catalog.installation AS i;

-- name: list_half_made
SELECT tenant_id
FROM tenants
WHERE status = 'provisioning'
ORDER BY tenant_id;

-- name: forget_half_made_credentials
DELETE FROM credentials AS c
USING tenants AS t
WHERE t.database_name = c.database_name AND t.status = 'provisioning';

-- name: forget_half_made
DELETE FROM tenants
WHERE status = 'provisioning';

-- name: mark_recovering
-- A tenant that was being deleted needs no ledger once their final export is stored.
UPDATE tenants AS t
SET
    recovering = t.status IN ('active', 'suspended')
    OR t.status = 'deleting'
    AND NOT EXISTS (
        SELECT FROM final_exports AS f
        WHERE f.tenant_id = t.tenant_id
    );

-- name: fail_operations
WITH failed AS (
    UPDATE operations
    SET
        status = 'failed',
        leased_by = NULL,
        message = 'the server was lost while this ran',
        finished_at = now()
    WHERE status IN ('queued', 'running') AND kind <> 'delete'
    RETURNING operation_id, asked_by, kind, status, message
)

SELECT append_operation_end(f.asked_by, f.operation_id, f.kind, f.status, f.message)
FROM failed AS f
WHERE f.asked_by IS NOT NULL;

-- name: continue_operator_acts
UPDATE operator_acts_head
SET
    last_seq = a.seq,
    last_hash = a.hash
FROM operator_acts AS a
WHERE a.seq = (SELECT max(o.seq) FROM operator_acts AS o);

-- name: requeue_deletions
-- A tenant's operations run in the order of their creation: the recovery comes first.
UPDATE operations
SET
    status = 'queued',
    leased_by = NULL,
    created_at = now() + interval '1 second'
WHERE status IN ('queued', 'running') AND kind = 'delete';

-- name: release_epochs
UPDATE tenant_epochs
SET
    leased_by = NULL,
    leased_until = '-infinity',
    fault = NULL,
    due_at = now();

-- name: schedule_reconciliations
INSERT INTO reconciliations (tenant_id, epoch)
SELECT
    tenant_id,
    epoch
FROM tenants
WHERE recovering
ON CONFLICT ON CONSTRAINT reconciliations_pkey DO NOTHING;

-- name: adopt_storage
UPDATE installation
SET
    storage_id = $1,
    is_storage_marked = true,
    shipped_version = $2,
    recovered_version = $2;

-- name: list_databases
SELECT d.datname
FROM pg_database AS d
INNER JOIN tenants AS t ON d.datname = t.database_name
WHERE t.recovering
ORDER BY d.datname;

-- name: list_recovering
SELECT tenant_id
FROM tenants
WHERE recovering
ORDER BY tenant_id;

-- name: list_known
SELECT tenant_id
FROM tenants;

-- name: list_clusters
SELECT DISTINCT cluster
FROM tenants
WHERE status <> 'deleted'
ORDER BY cluster;

-- name: describe
SELECT
    h.last_seq AS acts_seq,
    clock_timestamp() AS taken_at,
    (SELECT max(m.version) FROM schema_migrations AS m) AS schema_version,
    encode(h.last_hash, 'hex') AS acts_hash,
    (
        SELECT count(*) FROM tenants AS t
        WHERE t.status <> 'deleted'
    ) AS tenants
FROM operator_acts_head AS h;

-- name: list_columns
SELECT attname
FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum;
