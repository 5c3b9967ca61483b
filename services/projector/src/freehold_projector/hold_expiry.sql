-- Queries of the catalog by projector's look for holds that have expired (see hold_expiry.py).

-- name: note
-- $1 the tenant, $2 the second within which a hold expires. Whoever looks now may have looked too
-- early to see it: their claim ends.
INSERT INTO hold_expiries (tenant_id, expires_at, due_at)
VALUES ($1, $2, $2::timestamptz + interval '1 second')
ON CONFLICT ON CONSTRAINT hold_expiries_pkey DO UPDATE
    SET
        due_at = excluded.due_at,
        claim = null;

-- name: claim
-- $1 how many at most, $2 the claim, $3 seconds until another process may try: whoever claims may
-- die.
UPDATE hold_expiries AS h
SET
    due_at = now() + make_interval(secs => $3),
    claim = $2
FROM (
    SELECT
        c.tenant_id,
        c.expires_at
    FROM hold_expiries AS c
    WHERE c.due_at <= now()
    ORDER BY c.due_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
) AS due
WHERE h.tenant_id = due.tenant_id AND h.expires_at = due.expires_at
RETURNING h.tenant_id;

-- name: forget
-- $1 the tenant, $2 the claim under which somebody has looked.
DELETE FROM hold_expiries
WHERE tenant_id = $1 AND claim = $2;
