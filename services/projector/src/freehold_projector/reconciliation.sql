-- The catalog's queries for reconciliation (see reconciliation.py and freehold.database.leases).

-- name: claim
-- $1 the lease's owner, $2 its length in seconds.
UPDATE reconciliations
SET
    leased_by = $1,
    leased_until = now() + make_interval(secs => $2)
WHERE
    tenant_id IN (
        SELECT tenant_id
        FROM reconciliations
        WHERE due_at <= now() AND leased_until < now()
        ORDER BY due_at
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
RETURNING tenant_id, epoch, anchor_seq, anchor_hash;

-- name: renew
-- $1 the lease's owner, $2 its length in seconds, $3 the tenant.
UPDATE reconciliations
SET leased_until = now() + make_interval(secs => $2)
WHERE tenant_id = $3 AND leased_by = $1
RETURNING true;

-- name: record
-- $1 the lease's owner, $2 the tenant, $3 the epoch that was looked at: a restore may have begun
-- another since. $4 seconds to the next time, $5 the findings, $6 and $7 the head as anchor.
UPDATE reconciliations
SET
    due_at = now() + make_interval(secs => $4),
    leased_by = NULL,
    leased_until = '-infinity',
    reconciled_at = now(),
    findings = $5::text::jsonb,
    anchor_seq = coalesce($6, anchor_seq),
    anchor_hash = coalesce($7, anchor_hash)
WHERE tenant_id = $2 AND leased_by = $1 AND epoch = $3;

-- name: postpone
-- As before, without a result.
UPDATE reconciliations
SET
    due_at = now() + make_interval(secs => $4),
    leased_by = NULL,
    leased_until = '-infinity'
WHERE tenant_id = $2 AND leased_by = $1 AND epoch = $3;
