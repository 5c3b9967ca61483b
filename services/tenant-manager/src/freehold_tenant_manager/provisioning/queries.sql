-- The pool of databases in the catalog (store.py), and making databases.

-- name: read
-- $1 the cluster, $2 what this release hands out, $3 seconds for which those of others are left.
SELECT
    count(*) FILTER (WHERE is_ready AND made_as = $2) AS ready,
    count(*) FILTER (
        WHERE NOT is_ready OR made_as <> $2 AND changed_at < now() - make_interval(secs => $3)
    ) AS to_drop
FROM pool_databases
WHERE cluster = $1;

-- name: add
INSERT INTO pool_databases (database_name, cluster, made_as) VALUES ($1, $2, $3);

-- name: show
UPDATE pool_databases SET is_ready = true, changed_at = now()
WHERE database_name = $1;

-- name: claim
-- Names are random, so the order by name does not show when a database was made.
DELETE FROM pool_databases
WHERE
    database_name = (
        SELECT p.database_name
        FROM pool_databases AS p
        WHERE p.cluster = $1 AND p.made_as = $2 AND p.is_ready
        ORDER BY p.database_name
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
RETURNING database_name;

-- name: retire
UPDATE pool_databases SET is_ready = false
WHERE
    cluster = $1
    AND is_ready
    AND made_as <> $2
    AND changed_at < now() - make_interval(secs => $3);

-- name: list_retired
SELECT database_name
FROM pool_databases
WHERE cluster = $1 AND NOT is_ready;

-- name: forget
WITH forgotten AS (
    DELETE FROM credentials
    WHERE database_name = $1
)

DELETE FROM pool_databases
WHERE database_name = $1;

-- name: vacuum_command
-- Names the tables (templates.py): for a whole database Postgres logs a warning for each that all
-- databases share.
SELECT 'VACUUM (FREEZE, ANALYZE) ' || string_agg(oid::regclass::text, ', ')
FROM pg_class
WHERE relkind IN ('r', 'm') AND NOT relisshared;

-- name: find_connection_limit
-- No row: there is no such database (tenant_databases.py). -2: its dropping was interrupted.
SELECT datconnlimit
FROM pg_database
WHERE datname = $1;
