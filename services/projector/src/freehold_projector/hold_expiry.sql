-- The catalog's queries for holds that expire (see hold_expiry.py and freehold.database.leases).

-- name: save
-- $1 the tenant, $2 the second within which a hold expires. A process that looks now may have
-- looked too early to see this hold: its lease ends.
INSERT INTO hold_expiries (tenant_id, expires_at, due_at)
VALUES ($1, $2, $2::timestamptz + interval '1 second')
ON CONFLICT ON CONSTRAINT hold_expiries_pkey DO UPDATE
    SET
        due_at = excluded.due_at,
        leased_by = NULL,
        leased_until = '-infinity';

-- name: claim
-- $1 the lease's owner, $2 its length in seconds, $3 the most rows.
UPDATE hold_expiries
SET
    leased_by = $1,
    leased_until = now() + make_interval(secs => $2)
WHERE (tenant_id, expires_at) IN (
    SELECT
        tenant_id,
        expires_at
    FROM hold_expiries
    WHERE due_at <= now() AND leased_until < now()
    ORDER BY due_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
)
RETURNING tenant_id;

-- name: forget
-- $1 the tenant, $2 the owner of the lease under which it was looked at.
DELETE FROM hold_expiries
WHERE tenant_id = $1 AND leased_by = $2;
