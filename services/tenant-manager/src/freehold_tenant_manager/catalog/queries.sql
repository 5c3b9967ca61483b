-- The catalog's row about itself (installation.py), and the setup (setup.py).

-- name: read_installation
-- behind_s is the age of the oldest unshipped change, since_shipped_s that of the stored version.
SELECT
    i.storage_id,
    i.is_storage_marked,
    i.shipped_version,
    i.shipped_at,
    i.recovered_version,
    coalesce(
        extract(EPOCH FROM clock_timestamp() - (
            SELECT min(u.changed_at) FROM unshipped_changes AS u
        )),
        0
    )::float8 AS behind_s,
    extract(EPOCH FROM clock_timestamp() - i.shipped_at)::float8 AS since_shipped_s
FROM installation AS i;

-- name: has_data_keys
SELECT exists(SELECT FROM data_keys);

-- name: save_storage
UPDATE installation SET storage_id = coalesce(storage_id, $1)
RETURNING storage_id;

-- name: save_storage_marked
UPDATE installation SET is_storage_marked = true;

-- name: list_unshipped
SELECT change_id
FROM unshipped_changes;

-- name: forget_shipped
DELETE FROM unshipped_changes
WHERE change_id = any($1::bigint[]);

-- name: save_shipped
UPDATE installation SET shipped_version = $1, shipped_at = $2;

-- name: write_cluster
INSERT INTO clusters AS c (cluster, region, host, port)
VALUES ($1, $2, $3, $4)
ON CONFLICT ON CONSTRAINT clusters_pkey DO UPDATE
    SET
        region = excluded.region,
        host = excluded.host,
        port = excluded.port
    WHERE
    (c.region, c.host, c.port)
    IS DISTINCT FROM (excluded.region, excluded.host, excluded.port);

-- name: list_open_databases
-- Databases that every role can connect to.
SELECT datname
FROM pg_database
WHERE datallowconn AND has_database_privilege('public', oid, 'CONNECT')
ORDER BY datname;
