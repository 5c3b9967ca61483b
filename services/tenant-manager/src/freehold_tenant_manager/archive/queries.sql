-- The archive's queries of the catalog (epochs.py, compaction.py, retention.py) and of ledgers
-- (segments.py).

-- name: claim_epoch
-- $1 tenant, $2 epoch, $3 owner, $4 seconds, $5 and $6 the empty ledger's event id and hash,
-- $7 whether another process's lease is ignored. The first claim of an epoch makes its row.
INSERT INTO tenant_epochs AS e (
    tenant_id, epoch, started_at, start_seq, start_change,
    archived_seq, archived_event_id, archived_hash, archived_change, leased_by, leased_until
)
SELECT
    t.tenant_id,
    $2 AS epoch,
    t.created_at,
    0 AS start_seq,
    0 AS start_change,
    0 AS archived_seq,
    $5 AS archived_event_id,
    $6 AS archived_hash,
    0 AS archived_change,
    $3 AS leased_by,
    now() + make_interval(secs => $4) AS leased_until
FROM tenants AS t
WHERE t.tenant_id = $1
ON CONFLICT ON CONSTRAINT tenant_epochs_pkey DO UPDATE
    SET
        leased_by = excluded.leased_by,
        leased_until = excluded.leased_until
    WHERE $7::boolean OR e.leased_by = excluded.leased_by OR e.leased_until < now()
RETURNING archived_seq, archived_event_id, archived_hash, archived_change;

-- name: record_archived
-- $1 tenant, $2 epoch, $3 to $6 the position, $7 owner, $8 seconds. The position never goes back.
UPDATE tenant_epochs
SET
    archived_seq = $3,
    archived_event_id = $4,
    archived_hash = $5,
    archived_change = $6,
    archived_at = now(),
    leased_until
    = CASE leased_by WHEN $7 THEN now() + make_interval(secs => $8) ELSE leased_until END
WHERE tenant_id = $1 AND epoch = $2 AND archived_seq <= $3 AND archived_change <= $6;

-- name: release_epoch
-- $1 tenant, $2 epoch, $3 owner, $4 fault, $5 seconds until the epoch is due again.
UPDATE tenant_epochs
SET
    leased_by = NULL,
    leased_until = '-infinity',
    fault = $4,
    due_at = now() + make_interval(secs => $5)
WHERE tenant_id = $1 AND epoch = $2 AND leased_by = $3;

-- name: claim_due
-- $1 tenants at most, $2 seconds until they are due again.
UPDATE tenant_epochs
SET due_at = now() + make_interval(secs => $2)
WHERE (tenant_id, epoch) IN (
    SELECT
        e.tenant_id,
        e.epoch
    FROM tenant_epochs AS e
    INNER JOIN tenants AS t ON e.tenant_id = t.tenant_id AND e.epoch = t.epoch
    WHERE e.due_at <= now()
    ORDER BY e.due_at
    LIMIT $1
    FOR UPDATE OF e SKIP LOCKED
)
RETURNING tenant_id;

-- name: list_never_archived
-- $1 tenants at most, $2 their age in seconds at least.
SELECT t.tenant_id
FROM tenants AS t
WHERE
    t.status IN ('active', 'suspended')
    AND t.created_at < now() - make_interval(secs => $2)
    AND NOT EXISTS (
        SELECT FROM tenant_epochs AS e
        WHERE e.tenant_id = t.tenant_id
    )
ORDER BY t.created_at
LIMIT $1;

-- name: add_found_epoch
-- $1 tenant, $2 epoch, $3 start time, $4 parent or null, $5 to $8 the position it starts at.
INSERT INTO tenant_epochs (
    tenant_id, epoch, started_at, parent_epoch, start_at, start_seq, start_change,
    archived_seq, archived_event_id, archived_hash, archived_change
)
VALUES (
    $1, $2, $3::timestamptz, $4::bigint,
    CASE WHEN $4::bigint IS NOT NULL THEN $3::timestamptz END, $5, $8, $5, $6, $7, $8
)
ON CONFLICT ON CONSTRAINT tenant_epochs_pkey DO NOTHING;

-- name: record_found
-- $1 tenant, $2 epoch, $3 to $6 the position that a recovery reached.
UPDATE tenant_epochs
SET
    archived_seq = $3,
    archived_event_id = $4,
    archived_hash = $5,
    archived_change = $6
WHERE tenant_id = $1 AND epoch = $2 AND archived_seq <= $3 AND archived_change <= $6;

-- name: list_epochs
SELECT
    epoch,
    started_at,
    parent_epoch,
    start_at,
    start_seq,
    start_change,
    archived_seq,
    archived_event_id,
    archived_hash,
    archived_change,
    archived_at,
    fault
FROM tenant_epochs
WHERE tenant_id = $1
ORDER BY epoch;

-- name: forget_epochs
DELETE FROM tenant_epochs AS e
USING tenants AS t
WHERE e.tenant_id = $1 AND t.tenant_id = e.tenant_id AND t.status = 'deleted';

-- name: list_bases
SELECT
    backup_id,
    epoch,
    head_seq,
    head_hash,
    created_at,
    object_path,
    sha256
FROM backups
WHERE tenant_id = $1 AND status = 'complete'
ORDER BY created_at;

-- name: list_compactable
-- Deleted tenants' segments stay as they are, so that retention finds every one of them.
SELECT
    e.tenant_id,
    e.epoch
FROM tenant_epochs AS e
INNER JOIN tenants AS t ON e.tenant_id = t.tenant_id
WHERE t.status <> 'deleted';

-- name: list_removable
-- $1 the horizon.
SELECT DISTINCT
    e.tenant_id,
    t.status = 'deleted' AND t.deleted_at < $1 AS is_over
FROM tenant_epochs AS e
INNER JOIN tenants AS t ON e.tenant_id = t.tenant_id
WHERE e.started_at < $1;

-- name: last_change_before
-- $1 seq of a staged event. Gives the last staged change of rules that is not later than it.
SELECT (
    SELECT coalesce(max(s.change_id), 0) FROM staged_rules AS s
    WHERE s.changed_at <= e.recorded_at
)
FROM staged_events AS e
WHERE e.seq = $1;

-- name: replay_staged
-- $1 latest time, $2 last seq, $3 last change of rules; null is no limit.
SELECT
    r.last_seq,
    r.last_event_id,
    r.last_hash,
    r.last_change,
    r.last_recorded_at,
    r.reached,
    exists(
        SELECT FROM staged_rules AS s
        WHERE s.changed_at > $1 OR s.change_id > $3
    ) AS rules_reached
FROM
    replay_segment(
        coalesce($1::timestamptz, 'infinity'),
        coalesce($2::bigint, 9223372036854775807),
        coalesce($3::bigint, 9223372036854775807)
    ) AS r;
