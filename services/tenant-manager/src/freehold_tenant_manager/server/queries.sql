-- Databases (statements.py), sessions (sessions.py), schemas (migrator.py), and customers' roles
-- and sessions on the whole server (customer_sessions.py).

-- name: database_exists
SELECT exists(
    SELECT FROM pg_database
    WHERE datname = $1
);

-- name: create_database
-- Gives the statement. $1 the name, $2 the owner, or null for our own role, $3 whether it takes
-- connections. C collation: the order of text is the same on every machine and never changes with
-- an upgrade. It is a copy of freehold_base where that exists: there PUBLIC has fewer rights. Only
-- a superuser can make that (deploy/postgres).
SELECT
    format(
        'CREATE DATABASE %I OWNER %I TEMPLATE %I ENCODING ''UTF8'' LOCALE_PROVIDER libc'
        ' LOCALE ''C'' ALLOW_CONNECTIONS %s',
        $1::text,
        coalesce($2::text, current_user),
        coalesce(max(datname), 'template0'),
        $3::boolean::text
    ) AS command
FROM pg_database
WHERE datname = 'freehold_base' AND datistemplate;

-- name: end_sessions_in
-- $1 a database. Ends the sessions that we have the right to end.
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE
    datname = $1
    AND backend_type = 'client backend'
    AND pg_has_role(usename, 'USAGE');

-- name: set_locally
-- Sets settings until the transaction ends. $1 their names, $2 their values.
SELECT set_config(s.setting, s.given, true)
FROM unnest($1::text[], $2::text[]) AS s (setting, given);

-- name: are_in
-- $1 a database, $2 roles.
SELECT exists(
    SELECT FROM pg_stat_activity
    WHERE datname = $1 AND usename = any($2::text[])
);

-- name: may_end_all
-- Whether we may see and end every role's sessions.
SELECT
    pg_has_role('pg_read_all_stats', 'USAGE')
    AND pg_has_role('pg_signal_backend', 'USAGE');

-- name: end_sessions
-- $1 roles, $2 whether those without uncommitted changes stay, $3 milliseconds to wait for each.
SELECT pg_terminate_backend(pid, $3) AS is_ended
FROM pg_stat_activity
WHERE
    usename = any($1::text[])
    AND (NOT $2::boolean OR backend_xid IS NOT NULL); -- noqa: CP04

-- name: applied
SELECT
    version,
    checksum
FROM schema_migrations
ORDER BY version;

-- name: record
INSERT INTO schema_migrations (version, name, checksum)
VALUES ($1, $2, $3);

-- name: set_schema
-- Sets, until the transaction ends, where names are looked up and how long locks are waited for.
-- pg_temp stands last, so that no temporary object can take the place of one of the schema's.
-- $1 the schema, $2 the time.
SELECT
    set_config('search_path', quote_ident($1) || ', pg_temp', true) AS search_path,
    set_config('lock_timeout', $2, true) AS lock_timeout;

-- name: roles_with_sessions
SELECT DISTINCT a.usename::text AS role_name
FROM pg_stat_activity AS a
INNER JOIN customer_roles AS c ON a.usename = c.role_name;

-- name: settings_marks
-- A mark changes with each change of a role's settings. $1 the roles.
SELECT
    r.rolname::text AS role_name,
    coalesce(string_agg(s.xmin::text, ' ' ORDER BY s.setdatabase), '') AS mark
FROM pg_roles AS r
LEFT JOIN pg_db_role_setting AS s ON r.oid = s.setrole
WHERE r.rolname = any($1::text[])
GROUP BY r.rolname;

-- name: roles_to_mend
-- Roles that are not bounded, that hoard settings, or that were locked out for long enough. A clock
-- that was set back keeps no role locked out for longer. $1 the bound of temporary files, $2
-- characters of settings at most, $3 rows at most, $4 how long a role is locked out.
SELECT
    r.rolname::text AS role_name,
    h.is_hoard,
    h.in_databases,
    isfinite(r.rolvaliduntil) AS is_out
FROM customer_roles AS c
INNER JOIN pg_roles AS r ON c.role_name = r.rolname
CROSS JOIN
    LATERAL (
        SELECT
            coalesce(sum(length(s.setconfig::text)), 0) > $2 AS is_hoard,
            array_agg(d.datname::text)
            FILTER (WHERE d.oid IS NOT NULL) AS in_databases -- noqa: CP04
        FROM pg_db_role_setting AS s
        LEFT JOIN pg_database AS d ON s.setdatabase = d.oid
        WHERE s.setrole = r.oid
    ) AS h
WHERE
    h.is_hoard
    OR has_parameter_privilege('temp_file_limit', 'SET')
    AND NOT coalesce(r.rolconfig, '{}') @> ARRAY['temp_file_limit=' || $1]
    OR isfinite(r.rolvaliduntil)
    AND r.rolvaliduntil
    NOT BETWEEN clock_timestamp() - $4::interval AND clock_timestamp()
LIMIT $3; -- noqa: AM09

-- name: end_customer_sessions
-- Ends customers' sessions that hold up others or are too many; returns which and why. $1 the
-- roles; $2 to $4 the bounds of a transaction, of idleness within one, and of idleness between two;
-- $5 the bound of the number of sessions; $6 whether the queue of notifications fills.
--
-- A customer's role writes no data. A transaction of theirs with an id has changed the role itself
-- or its rights, and blocks our changes of these. A session that listens and does not end its
-- transaction keeps the queue from being emptied.
--
-- DROP DATABASE and other statements wait for a lock before they are refused, and new connections
-- to that database wait behind them. If one session of a role waits like that, all are ended:
-- 'lock'.

WITH locks AS (
    SELECT
        l.pid,
        bool_or(NOT l.granted AND l.waitstart < clock_timestamp() - interval '1 s') AS is_in_the_way
    FROM pg_locks AS l
    WHERE
        l.locktype = 'object' AND l.database = 0 AND l.mode <> 'RowExclusiveLock'
        OR l.locktype IN ('object', 'relation')
        AND l.mode NOT IN ('AccessShareLock', 'RowExclusiveLock') AND NOT l.granted
    GROUP BY l.pid
),

sessions AS (
    SELECT
        a.pid,
        a.usename,
        CASE
            WHEN bool_or(l.is_in_the_way) OVER (PARTITION BY a.usename) THEN 'lock'
            WHEN a.xact_start < clock_timestamp() - $2::interval THEN 'transaction'
            WHEN
                a.state LIKE 'idle in transaction%'
                AND a.state_change < clock_timestamp() - $3::interval
                THEN 'waiting'
            WHEN
                (a.backend_xid IS NOT NULL OR l.pid IS NOT NULL) -- noqa: CP04
                AND a.xact_start < clock_timestamp() - interval '10 s'
                THEN 'change'
            WHEN $6::boolean AND a.xact_start < clock_timestamp() - interval '1 s'
                THEN 'notifications'
            WHEN a.state = 'idle' AND a.state_change < clock_timestamp() - $4::interval THEN 'idle'
            WHEN
                row_number() OVER (ORDER BY a.state = 'idle', a.state_change DESC) > $5::bigint
                THEN 'many'
        END AS reason
    FROM pg_stat_activity AS a
    INNER JOIN unnest($1::text[]) AS r (role_name) ON a.usename = r.role_name
    LEFT JOIN locks AS l ON a.pid = l.pid
    WHERE a.backend_type = 'client backend'
)

SELECT
    s.usename,
    s.reason,
    pg_terminate_backend(s.pid) AS ended
FROM sessions AS s
WHERE s.reason IS NOT NULL; -- noqa: CP04
