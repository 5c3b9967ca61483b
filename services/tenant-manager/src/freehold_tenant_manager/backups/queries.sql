-- Queries of backups: in a ledger (backups.py), in the catalog (store.py).

-- name: export_snapshot
SELECT
    pg_export_snapshot() AS name,
    (SELECT max(version) FROM schema_migrations) AS schema_version,
    pg_database_size(current_database()) AS size_bytes;

-- name: begin_backup
-- Gives the object that an earlier try has stored, or was storing.
WITH earlier AS (
    SELECT object_path FROM backups
    WHERE backup_id = $1
)

INSERT INTO backups AS b (
    backup_id, tenant_id, object_path, epoch, schema_version, head_seq, head_hash
)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT ON CONSTRAINT backups_pkey DO UPDATE
    SET
        object_path = $3,
        epoch = $4,
        schema_version = $5,
        head_seq = $6,
        head_hash = $7,
        created_at = now()
    WHERE b.status = 'making'
RETURNING (SELECT object_path FROM earlier);

-- name: complete_backup
UPDATE backups
SET
    status = 'complete',
    bytes = $3,
    sha256 = $4
WHERE backup_id = $1 AND object_path = $2 AND status = 'making'
RETURNING true;

-- name: list_backups
-- $1 tenant, $2 statuses, $3 one backup or null, $4 the backup after which the list begins or null,
-- $5 rows at most.
SELECT
    b.backup_id,
    b.tenant_id,
    b.status,
    b.object_path,
    b.epoch,
    b.schema_version,
    b.head_seq,
    b.head_hash,
    b.created_at,
    b.bytes,
    b.sha256,
    b.verified_at
FROM backups AS b
WHERE
    b.tenant_id = $1
    AND b.status = any($2::text[])
    AND ($3::uuid IS NULL OR b.backup_id = $3)
    AND ($4::uuid IS NULL OR (b.created_at, b.backup_id) < (
        SELECT
            a.created_at,
            a.backup_id
        FROM backups AS a
        WHERE a.backup_id = $4
    ))
ORDER BY b.created_at DESC, b.backup_id DESC
LIMIT $5;

-- name: record_verification
UPDATE backups
SET
    status = CASE WHEN $2 THEN 'complete' ELSE 'damaged' END,
    verified_at = CASE WHEN $2 THEN now() ELSE verified_at END
WHERE backup_id = $1 AND status IN ('complete', 'damaged');

-- name: list_due_backups
-- $1 seconds between backups, $2 seconds after a failure, $3 rows at most. A tenant's first backup
-- is due at a hash of their id within the first period.
SELECT d.tenant_id
FROM (
    SELECT
        t.tenant_id,
        coalesce(
            (
                SELECT max(b.created_at) FROM backups AS b
                WHERE b.tenant_id = t.tenant_id AND b.status = 'complete'
            ) + make_interval(secs => $1),
            t.created_at + make_interval(
                secs => $1 * (hashtext(t.tenant_id)::bigint + 2147483648) / 4294967296
            )
        ) AS due_at
    FROM tenants AS t
    WHERE t.status IN ('active', 'suspended')
) AS d
WHERE
    d.due_at <= now()
    AND NOT EXISTS (
        SELECT FROM operations AS o
        WHERE
            o.tenant_id = d.tenant_id
            AND o.kind = 'backup'
            AND (
                o.status IN ('queued', 'running')
                OR o.status = 'failed' AND o.finished_at > now() - make_interval(secs => $2)
            )
    )
ORDER BY d.due_at
LIMIT $3;

-- name: list_due_verifications
-- $1 seconds between verifications, $2 seconds after a failure, $3 rows at most.
SELECT DISTINCT ON (b.tenant_id)
    b.tenant_id,
    b.backup_id
FROM backups AS b
INNER JOIN tenants AS t ON b.tenant_id = t.tenant_id
WHERE
    b.status = 'complete'
    AND t.status IN ('active', 'suspended')
    AND (
        SELECT coalesce(max(v.verified_at), min(v.created_at)) FROM backups AS v
        WHERE v.tenant_id = b.tenant_id
    ) < now() - make_interval(secs => $1)
    AND NOT EXISTS (
        SELECT FROM operations AS o
        WHERE
            o.tenant_id = b.tenant_id
            AND o.kind = 'backup-verification'
            AND (
                o.status IN ('queued', 'running')
                OR o.status = 'failed' AND o.finished_at > now() - make_interval(secs => $2)
            )
    )
ORDER BY b.tenant_id ASC, b.created_at DESC
LIMIT $3;

-- name: count_asked
SELECT count(*)
FROM operations
WHERE status IN ('queued', 'running') AND kind IN ('backup', 'backup-verification');

-- name: list_superfluous
-- $1 seconds for which backups are kept, $2 seconds after which a try is abandoned. Kept as well
-- are a tenant's last backup before that time, and their last one that was verified.
SELECT
    b.backup_id,
    b.tenant_id,
    b.status,
    b.object_path
FROM backups AS b
WHERE
    b.status = 'deleting'
    OR b.status = 'making' AND b.created_at < now() - make_interval(secs => $2)
    OR b.status IN ('complete', 'damaged')
    AND b.created_at < now() - make_interval(secs => $1)
    AND (
        b.status = 'damaged'
        OR EXISTS (
            SELECT FROM tenants AS t
            WHERE t.tenant_id = b.tenant_id AND t.status = 'deleted'
        )
        OR EXISTS (
            SELECT FROM backups AS n
            WHERE
                n.tenant_id = b.tenant_id
                AND n.status = 'complete'
                AND n.created_at > b.created_at
                AND n.created_at < now() - make_interval(secs => $1)
        )
        AND (
            b.verified_at IS NULL
            OR EXISTS (
                SELECT FROM backups AS v
                WHERE
                    v.tenant_id = b.tenant_id
                    AND v.status = 'complete'
                    AND v.verified_at IS NOT NULL
                    AND v.created_at > b.created_at
            )
        )
    )
ORDER BY b.created_at;

-- name: condemn_backup
UPDATE backups
SET status = 'deleting'
WHERE backup_id = $1 AND status = $2
RETURNING true;

-- name: forget_backup
DELETE FROM backups
WHERE backup_id = $1 AND status = 'deleting';
