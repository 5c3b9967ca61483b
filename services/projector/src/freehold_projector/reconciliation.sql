-- Queries of the catalog by projector's reconciliation (see reconciliation.py).

-- name: claim
-- $1 how many at most, $2 seconds until another process may try: whoever claims may die.
UPDATE reconciliations AS r
SET due_at = now() + make_interval(secs => $2)
FROM (
    SELECT c.tenant_id
    FROM reconciliations AS c
    WHERE c.due_at <= now()
    ORDER BY c.due_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
) AS due
WHERE r.tenant_id = due.tenant_id
RETURNING r.tenant_id, r.epoch, r.anchor_seq, r.anchor_hash;

-- name: record
-- $1 the tenant, $2 seconds to the next time, $3 the findings, $4 and $5 the head as anchor, $6 the
-- epoch that was looked at: a restore may have put another in its place since.
UPDATE reconciliations
SET
    due_at = now() + make_interval(secs => $2),
    reconciled_at = now(),
    findings = $3::text::jsonb,
    anchor_seq = coalesce($4, anchor_seq),
    anchor_hash = coalesce($5, anchor_hash)
WHERE tenant_id = $1 AND epoch = $6;
