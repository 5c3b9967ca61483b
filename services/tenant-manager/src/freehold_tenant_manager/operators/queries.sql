-- Operators in the catalog (store.py), and their acts (act_store.py).

-- name: add
INSERT INTO operators AS o (name, role, token_id, token_hash, expires_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT ON CONSTRAINT operators_pkey DO NOTHING
RETURNING o.name, o.role, o.created_at, o.expires_at;

-- name: list
-- $1 the operator after whom the page begins, or null, $2 rows at most.
SELECT
    name,
    role,
    created_at,
    expires_at,
    revoked_at,
    last_used_at
FROM operators
WHERE $1::text IS NULL OR name > $1
ORDER BY name
LIMIT $2;

-- name: find
SELECT
    name,
    role,
    created_at,
    expires_at,
    revoked_at,
    last_used_at
FROM operators
WHERE name = $1;

-- name: find_token
SELECT
    name,
    role,
    token_hash,
    coalesce(last_used_at < now() - interval '1 hour', true) AS is_use_due
FROM operators
WHERE token_id = $1 AND revoked_at IS NULL AND coalesce(expires_at > now(), true);

-- name: find_session
-- The operator of a session that a token began, while the token works.
SELECT
    name,
    role
FROM operators
WHERE token_id = $1 AND revoked_at IS NULL AND coalesce(expires_at > now(), true);

-- name: save_use
UPDATE operators SET last_used_at = now()
WHERE token_id = $1;

-- name: rotate
UPDATE operators
SET
    token_id = $2,
    token_hash = $3,
    expires_at = $4,
    last_used_at = NULL
WHERE name = $1 AND revoked_at IS NULL
RETURNING name, role, created_at, expires_at;

-- name: revoke
UPDATE operators SET revoked_at = coalesce(revoked_at, now())
WHERE name = $1
RETURNING true;

-- name: append_act
SELECT append_operator_act($1::jsonb);

-- name: list_acts
-- $1 an operator, $2 a tenant and $3 an act, or null for all; $4 and $5 the times from which and
-- before which, or null; $6 the seq before which the page begins, or null; $7 rows at most.
SELECT * -- noqa: AM04
FROM operator_acts
WHERE
    ($1::text IS NULL OR operator = $1)
    AND ($2::text IS NULL OR tenant_id = $2)
    AND ($3::text IS NULL OR act = $3)
    AND ($4::timestamptz IS NULL OR recorded_at >= $4)
    AND ($5::timestamptz IS NULL OR recorded_at < $5)
    AND ($6::bigint IS NULL OR seq < $6)
ORDER BY seq DESC
LIMIT $7;

-- name: export_acts
-- $1 the seq after which, $2 rows at most. The text is what the hash covers, and the hashes.
SELECT
    a.seq,
    left(operator_act_text(a), -1) || format(
        ', "previous_hash": "%s", "hash": "%s"}',
        encode(a.previous_hash, 'hex'), encode(a.hash, 'hex')
    ) AS line -- noqa: RF04
FROM operator_acts AS a
WHERE a.seq > $1
ORDER BY a.seq
LIMIT $2;

-- name: verify_acts
SELECT * FROM verify_operator_acts(); -- noqa: AM04

-- name: has_act
SELECT exists(
    SELECT FROM operator_acts
    WHERE seq = $1 AND hash = $2
);
