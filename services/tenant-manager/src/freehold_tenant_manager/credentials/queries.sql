-- Credentials of tenants' roles in the catalog (see store.py).

-- name: add
INSERT INTO credentials (database_name, service, sealing_key_id, sealed_password)
VALUES ($1, $2, $3, $4)
ON CONFLICT ON CONSTRAINT credentials_pkey DO NOTHING;

-- name: list
SELECT * -- noqa: AM04
FROM credentials
WHERE database_name = $1
ORDER BY service;

-- name: find_home
SELECT * -- noqa: AM04
FROM homes
WHERE tenant_id = $1 AND service = $2 AND NOT recovering;

-- name: lock
-- $2 the service, or null for all.
SELECT * -- noqa: AM04
FROM credentials
WHERE database_name = $1 AND ($2::text IS NULL OR service = $2)
ORDER BY service
FOR UPDATE;

-- name: lock_sealed_otherwise
-- $1 the key that seals now, $2 and $3 the database and service to begin after, $4 rows at most.
SELECT * -- noqa: AM04
FROM credentials
WHERE sealing_key_id <> $1 AND (database_name, service) > ($2, $3)
ORDER BY database_name, service
LIMIT $4
FOR UPDATE;

-- name: replace
UPDATE credentials SET sealing_key_id = $3, sealed_password = $4
WHERE database_name = $1 AND service = $2;
