-- API keys in the catalog (see store.py).

-- name: add
INSERT INTO api_keys (key_id, tenant_id, secret_hash, scopes, expires_at, label)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING created_at;

-- name: list
-- $1 the tenant, $2 the key after which the page begins, or null, $3 rows at most.
SELECT
    key_id,
    scopes,
    label,
    created_at,
    expires_at,
    revoked_at
FROM api_keys
WHERE
    tenant_id = $1
    AND (
        $2::text IS NULL
        OR (created_at, key_id) > (
            SELECT
                a.created_at,
                a.key_id
            FROM api_keys AS a
            WHERE a.tenant_id = $1 AND a.key_id = $2
        )
    )
ORDER BY created_at, key_id
LIMIT $3;

-- name: find_working
SELECT
    tenant_id,
    secret_hash,
    scopes
FROM api_keys
WHERE key_id = $1 AND revoked_at IS NULL AND coalesce(expires_at > now(), true);

-- name: revoke
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())
WHERE tenant_id = $1 AND key_id = $2
RETURNING true;

-- name: label
UPDATE api_keys SET label = $3
WHERE tenant_id = $1 AND key_id = $2
RETURNING key_id, scopes, label, created_at, expires_at, revoked_at;

-- name: exists
SELECT exists(
    SELECT FROM api_keys
    WHERE tenant_id = $1 AND key_id = $2
);

-- name: expire
-- $3 seconds for which the key still works, unless it expires before.
UPDATE api_keys SET expires_at = least(expires_at, now() + make_interval(secs => $3))
WHERE
    tenant_id = $1
    AND key_id = $2
    AND revoked_at IS NULL
    AND (expires_at IS NULL OR expires_at > now())
RETURNING key_id, scopes, label, created_at, expires_at, revoked_at;

-- name: add_link
-- $3 the digest of the link, $4 the seconds for which it can be used. Expired links are removed.
WITH expired AS (
    DELETE FROM sign_in_links
    WHERE expires_at < now()
)

INSERT INTO sign_in_links (link_hash, key_id, expires_at)
SELECT
    $3 AS link_hash,
    key_id,
    now() + make_interval(secs => $4) AS expires_at
FROM api_keys
WHERE
    tenant_id = $1
    AND key_id = $2
    AND revoked_at IS NULL
    AND (expires_at IS NULL OR expires_at > now())
RETURNING expires_at;
