-- The catalog's queries of data keys (data_keys.py).

-- name: list_keys
SELECT
    tenant_id,
    wrapping_key_id,
    wrapped_key
FROM data_keys;

-- name: list_not_stored
SELECT
    tenant_id,
    wrapping_key_id,
    wrapped_key
FROM data_keys
WHERE NOT is_stored
ORDER BY tenant_id
LIMIT $1;

-- name: find_key
SELECT
    wrapping_key_id,
    wrapped_key,
    is_stored
FROM data_keys
WHERE tenant_id = $1;

-- name: add_key
INSERT INTO data_keys (tenant_id, wrapping_key_id, wrapped_key)
VALUES ($1, $2, $3)
ON CONFLICT ON CONSTRAINT data_keys_pkey DO NOTHING;

-- name: adopt_key
INSERT INTO data_keys (tenant_id, wrapping_key_id, wrapped_key, is_stored)
VALUES ($1, $2, $3, true)
ON CONFLICT ON CONSTRAINT data_keys_pkey DO UPDATE
    SET
        wrapping_key_id = excluded.wrapping_key_id,
        wrapped_key = excluded.wrapped_key,
        is_stored = true;

-- name: record_stored
UPDATE data_keys
SET is_stored = true
WHERE tenant_id = $1 AND wrapped_key = $2;

-- name: rewrap_key
-- $4 the key as it was wrapped before.
UPDATE data_keys
SET
    wrapping_key_id = $2,
    wrapped_key = $3,
    is_stored = true
WHERE tenant_id = $1 AND wrapped_key = $4;
