-- Operations in the catalog (see store.py).

-- name: ask
-- Gives no row where the same is asked for already.
INSERT INTO operations (operation_id, kind, tenant_id, parameters, asked_by) -- noqa: RF04
VALUES ($1, $2, $3, $4::jsonb, $5::jsonb)
ON CONFLICT (coalesce(tenant_id, ''), kind, md5(parameters::text))
WHERE status IN ('queued', 'running') DO NOTHING
RETURNING operation_id;

-- name: find_asked
SELECT operation_id
FROM operations
WHERE
    coalesce(tenant_id, '') = coalesce($1, '')
    AND kind = $2
    AND md5(parameters::text) = md5($3::jsonb::text)
    AND status IN ('queued', 'running');

-- name: claim
-- The oldest operation that may run now. $1 the lease's owner, $2 the kinds that it does, $3 the
-- lease's length in seconds.
UPDATE operations SET
    status = 'running',
    leased_by = $1,
    leased_until = now() + make_interval(secs => $3)
WHERE
    operation_id = (
        SELECT o.operation_id
        FROM operations AS o
        WHERE
            o.kind = any($2::text[])
            AND (
                o.status = 'running' AND o.leased_until < now()
                OR o.status = 'queued' AND NOT EXISTS (
                    SELECT FROM operations AS r
                    WHERE
                        r.status = 'running'
                        AND coalesce(r.tenant_id, '/' || r.kind)
                        = coalesce(o.tenant_id, '/' || o.kind)
                )
            )
        ORDER BY o.created_at, o.operation_id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
RETURNING operation_id;

-- name: renew
UPDATE operations SET leased_until = now() + make_interval(secs => $3)
WHERE operation_id = $1 AND leased_by = $2 AND status = 'running';

-- name: save_progress
UPDATE operations SET progress = $3, message = $4, state = $5::jsonb
WHERE operation_id = $1 AND leased_by = $2 AND status = 'running';

-- name: hold
SELECT FROM operations
WHERE operation_id = $1 AND leased_by = $2 AND status = 'running'
FOR UPDATE;

-- name: finish
-- $4 the result, null where the operation failed. The audit log hears of it at the same time.
WITH ended AS (
    UPDATE operations SET
        status = CASE WHEN $4::jsonb IS NULL THEN 'failed' ELSE 'succeeded' END,
        progress = CASE WHEN $4::jsonb IS NULL THEN progress ELSE 1 END,
        message = $3,
        result = $4::jsonb,
        leased_by = NULL,
        finished_at = now()
    WHERE operation_id = $1 AND leased_by = $2 AND status = 'running'
    RETURNING operation_id, asked_by, kind, status, message
)

SELECT append_operation_end(e.asked_by, e.operation_id, e.kind, e.status, e.message)
FROM ended AS e
WHERE e.asked_by IS NOT NULL;

-- name: give_back
UPDATE operations SET status = 'queued', leased_by = NULL
WHERE leased_by = $1 AND status = 'running';

-- name: forget
-- $1 seconds since their end.
DELETE FROM operations
WHERE finished_at < now() - make_interval(secs => $1);

-- name: find
SELECT * -- noqa: AM04
FROM operation_rows
WHERE operation_id = $1;

-- name: list_last_of
SELECT DISTINCT ON (tenant_id) * -- noqa: AM04
FROM operation_rows
WHERE kind = $1
ORDER BY tenant_id ASC, created_at DESC, operation_id DESC;

-- name: find_last
SELECT * -- noqa: AM04
FROM operation_rows
WHERE kind = $1
ORDER BY created_at DESC, operation_id DESC
LIMIT 1;

-- name: list
-- $1 a tenant and $2 a status, or null for all, $3 the operation after which the page begins, or
-- null, $4 rows at most.
SELECT * -- noqa: AM04
FROM operation_rows
WHERE
    ($1::text IS NULL OR tenant_id = $1)
    AND ($2::text IS NULL OR status = $2)
    AND (
        $3::uuid IS NULL
        OR (created_at, operation_id) < (
            SELECT
                o.created_at,
                o.operation_id
            FROM operations AS o
            WHERE o.operation_id = $3
        )
    )
ORDER BY created_at DESC, operation_id DESC
LIMIT $4;
