-- Queries of usage: the sampler's (store.py) and those that show it (shown.py), in the catalog.

-- name: begin_round
-- $1 seconds until another round may begin. Gives a row to one process.
UPDATE usage_rounds
SET due_at = now() + make_interval(secs => $1)
WHERE due_at <= now()
RETURNING true;

-- name: end_round
-- $1 parked doorbells, or null.
UPDATE usage_rounds SET sampled_at = now(), parked_doorbells = $1;

-- name: read_server
-- $1 the cluster that this server is. Of a tenant whose database was not written to, the ledger's
-- figures still hold.
INSERT INTO tenant_usage AS u (
    tenant_id, sampled_at, connections, server_active_ms, server_writes
)
SELECT
    t.tenant_id,
    now() AS sampled_at,
    s.numbackends,
    s.active_time,
    s.tup_inserted + s.tup_updated + s.tup_deleted AS server_writes
FROM tenants AS t
INNER JOIN pg_stat_database AS s ON t.database_name = s.datname
WHERE t.status IN ('active', 'suspended') AND t.cluster = $1
ON CONFLICT ON CONSTRAINT tenant_usage_pkey DO UPDATE
    SET
        sampled_at = excluded.sampled_at,
        connections = excluded.connections,
        server_active_ms = excluded.server_active_ms,
        server_writes = excluded.server_writes,
        database_s = u.database_s + (
            excluded.server_active_ms - CASE
                WHEN excluded.server_active_ms >= u.server_active_ms THEN u.server_active_ms ELSE 0
            END
        ) / 1000,
        database_s_per_s = (
            excluded.server_active_ms - CASE
                WHEN excluded.server_active_ms >= u.server_active_ms THEN u.server_active_ms ELSE 0
            END
        ) / 1000 / extract(EPOCH FROM excluded.sampled_at - u.sampled_at),
        known_at = CASE
            WHEN u.known_writes = excluded.server_writes AND u.events_behind = 0
                THEN excluded.sampled_at
            ELSE u.known_at
        END,
        events_per_s = CASE u.known_writes
            WHEN excluded.server_writes THEN 0 ELSE u.events_per_s
        END
    WHERE excluded.sampled_at > u.sampled_at;

-- name: choose_to_ask
-- $1 tenants at most: those whose figures may have changed, the one asked longest ago first.
UPDATE tenant_usage AS u
SET asked_at = now()
FROM (
    SELECT
        c.tenant_id,
        coalesce(e.archived_seq, 0) AS archived_seq
    FROM tenant_usage AS c
    INNER JOIN tenants AS t ON c.tenant_id = t.tenant_id
    LEFT JOIN tenant_epochs AS e ON t.tenant_id = e.tenant_id AND t.epoch = e.epoch
    WHERE
        t.status IN ('active', 'suspended')
        AND (
            c.known_writes IS DISTINCT FROM c.server_writes
            OR c.events_behind > 0
            OR c.events > coalesce(e.archived_seq, 0)
        )
    ORDER BY c.asked_at, c.tenant_id
    LIMIT $1
) AS chosen
WHERE u.tenant_id = chosen.tenant_id
RETURNING u.tenant_id, u.server_writes, chosen.archived_seq;

-- name: measure
-- $1 tenants.
UPDATE tenant_usage AS u
SET size_bytes = pg_database_size(d.oid)
FROM tenants AS t
INNER JOIN pg_database AS d ON t.database_name = d.datname
WHERE u.tenant_id = t.tenant_id AND t.tenant_id = any($1::text[]);

-- name: save_answers
-- $1 to $8 columns, one entry for each tenant who answered.
UPDATE tenant_usage AS u
SET
    known_at = now(),
    known_writes = a.known_writes,
    events_per_s
    = greatest(a.events - u.events, 0)
    / nullif(extract(EPOCH FROM now() - u.known_at), 0)::double precision,
    events = a.events,
    accounts = a.accounts,
    events_behind = a.events_behind,
    seconds_behind = a.seconds_behind,
    unarchived_seq = a.unarchived_seq,
    unarchived_at = a.unarchived_at
FROM
    unnest(
        $1::text[],
        $2::bigint[],
        $3::bigint[],
        $4::bigint[],
        $5::bigint[],
        $6::double precision[],
        $7::bigint[],
        $8::timestamptz[]
    ) AS a (
        tenant_id, known_writes, events, accounts, events_behind, seconds_behind,
        unarchived_seq, unarchived_at
    )
WHERE u.tenant_id = a.tenant_id;

-- name: begin_keeping
-- $1 seconds until samples are kept again. Gives a row where it is time.
UPDATE usage_rounds
SET keep_due_at = now() + make_interval(secs => $1)
WHERE keep_due_at <= now()
RETURNING true;

-- name: keep_samples
-- An idle tenant's figures are kept once an hour.
INSERT INTO usage_samples (
    tenant_id, sampled_at, size_bytes, events, accounts, events_behind, seconds_behind,
    connections, database_s, services_s, requests, errors, parked
)
SELECT
    u.tenant_id,
    u.sampled_at,
    u.size_bytes,
    u.events,
    u.accounts,
    u.events_behind,
    u.seconds_behind,
    u.connections,
    u.database_s,
    coalesce(f.cpu_s, 0) AS services_s,
    coalesce(f.requests, 0) AS requests,
    coalesce(f.errors, 0) AS errors,
    coalesce(f.parked, 0) AS parked
FROM tenant_usage AS u
LEFT JOIN tenant_traffic AS f ON u.tenant_id = f.tenant_id
LEFT JOIN LATERAL (
    SELECT
        s.sampled_at,
        s.size_bytes,
        s.events,
        s.requests,
        s.parked,
        s.events_behind
    FROM usage_samples AS s
    WHERE s.tenant_id = u.tenant_id
    ORDER BY s.sampled_at DESC
    LIMIT 1
) AS p ON true
WHERE
    p.sampled_at IS NULL
    OR p.sampled_at < u.sampled_at - interval '1 hour'
    OR p.sampled_at < u.sampled_at
    AND (p.size_bytes, p.events, p.requests, p.parked, p.events_behind)
    IS DISTINCT FROM
    (
        u.size_bytes, u.events, coalesce(f.requests, 0), coalesce(f.parked, 0), u.events_behind
    );

-- name: thin_samples
-- Leaves the last sample of each day, once it is two days old, for 90 days.
DELETE FROM usage_samples AS s
WHERE
    s.sampled_at < now() - interval '90 days'
    OR s.sampled_at < now() - interval '2 days'
    AND EXISTS (
        SELECT FROM usage_samples AS n
        WHERE
            n.tenant_id = s.tenant_id
            AND n.sampled_at > s.sampled_at
            AND n.sampled_at < date_trunc('day', s.sampled_at) + interval '1 day'
    );

-- name: forget_slow_reads
DELETE FROM slow_reads
WHERE day < current_date - 7;

-- name: list_usage
-- $1 a tenant, or null for all. Shares are those of all. What is of a day is since the last sample
-- that is a day old, or since the tenant's beginning.
SELECT *
FROM (
    SELECT
        m.*,
        coalesce(m.size_bytes / nullif(sum(m.size_bytes) OVER (), 0), 0)::double precision
            AS size_share,
        coalesce(
            (m.database_s + m.services_s) / nullif(sum(m.database_s + m.services_s) OVER (), 0), 0
        ) AS cpu_share
    FROM (
        SELECT
            t.tenant_id,
            t.name,
            t.status,
            t.schema_version,
            u.sampled_at,
            u.known_at,
            u.size_bytes,
            u.events,
            u.events_per_s,
            u.accounts,
            u.events_behind,
            u.seconds_behind,
            u.connections,
            u.database_s_per_s,
            r.slowest_read_s,
            b.last_backup_at,
            b.last_trial_at,
            e.archived_at,
            CASE
                WHEN coalesce(d.sampled_at, o.sampled_at) < u.sampled_at - interval '1 hour'
                    THEN
                        (u.size_bytes - coalesce(d.size_bytes, o.size_bytes)) * 86400
                        / extract(EPOCH FROM u.sampled_at - coalesce(d.sampled_at, o.sampled_at))
            END::double precision AS growth_bytes_per_day,
            coalesce(u.database_s, 0) - coalesce(d.database_s, 0) AS database_s,
            coalesce(f.cpu_s, 0) - coalesce(d.services_s, 0) AS services_s,
            coalesce(f.requests, 0) - coalesce(d.requests, 0) AS requests,
            coalesce(f.errors, 0) - coalesce(d.errors, 0) AS errors,
            coalesce(f.parked, 0) - coalesce(d.parked, 0) AS doorbells_parked,
            coalesce(b.backups_bytes, 0) AS backups_bytes,
            CASE
                WHEN u.known_at IS NULL THEN NULL
                WHEN u.unarchived_seq > coalesce(e.archived_seq, 0)
                    THEN greatest(extract(EPOCH FROM now() - u.unarchived_at), 0)
                ELSE 0
            END::double precision AS archive_behind_s
        FROM tenants AS t
        LEFT JOIN tenant_usage AS u ON t.tenant_id = u.tenant_id
        LEFT JOIN tenant_traffic AS f ON t.tenant_id = f.tenant_id
        LEFT JOIN tenant_epochs AS e ON t.tenant_id = e.tenant_id AND t.epoch = e.epoch
        LEFT JOIN LATERAL (
            SELECT
                s.sampled_at,
                s.size_bytes,
                s.database_s,
                s.services_s,
                s.requests,
                s.errors,
                s.parked
            FROM usage_samples AS s
            WHERE s.tenant_id = t.tenant_id AND s.sampled_at <= now() - interval '1 day'
            ORDER BY s.sampled_at DESC
            LIMIT 1
        ) AS d ON true
        LEFT JOIN LATERAL (
            SELECT
                s.sampled_at,
                s.size_bytes
            FROM usage_samples AS s
            WHERE s.tenant_id = t.tenant_id AND s.size_bytes IS NOT NULL
            ORDER BY s.sampled_at
            LIMIT 1
        ) AS o ON true
        LEFT JOIN (
            SELECT
                k.tenant_id,
                max(k.created_at) FILTER (WHERE k.status = 'complete') AS last_backup_at,
                max(k.verified_at) AS last_trial_at,
                sum(k.bytes)::bigint AS backups_bytes
            FROM backups AS k
            WHERE k.status IN ('complete', 'damaged')
            GROUP BY k.tenant_id
        ) AS b ON t.tenant_id = b.tenant_id
        LEFT JOIN (
            SELECT
                w.tenant_id,
                max(w.seconds) AS slowest_read_s
            FROM slow_reads AS w
            WHERE w.read_at >= now() - interval '1 day'
            GROUP BY w.tenant_id
        ) AS r ON t.tenant_id = r.tenant_id
        WHERE t.status IN ('active', 'suspended')
    ) AS m
) AS a
WHERE $1::text IS NULL OR tenant_id = $1
ORDER BY tenant_id;

-- name: usage_series
-- Counters as what they grew by since the sample before.
SELECT
    sampled_at,
    size_bytes,
    events,
    accounts,
    events_behind,
    seconds_behind,
    connections,
    coalesce(extract(EPOCH FROM sampled_at - lag(sampled_at) OVER series), 0)::double precision
        AS seconds,
    database_s - lag(database_s, 1, database_s) OVER series AS database_s,
    services_s - lag(services_s, 1, services_s) OVER series AS services_s,
    requests - lag(requests, 1, requests) OVER series AS requests,
    errors - lag(errors, 1, errors) OVER series AS errors,
    parked - lag(parked, 1, parked) OVER series AS doorbells_parked
FROM usage_samples
WHERE tenant_id = $1
WINDOW series AS (ORDER BY sampled_at)
ORDER BY sampled_at;

-- name: slow_reads
SELECT
    call,
    seconds,
    read_at,
    row_count
FROM slow_reads
WHERE tenant_id = $1
ORDER BY seconds DESC
LIMIT $2;

-- name: last_round
SELECT
    sampled_at,
    parked_doorbells
FROM usage_rounds;
