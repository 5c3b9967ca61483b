-- Queries of the catalog by which services write what they did for tenants (traffic.py). Tenants
-- whom the service does not see are left out. In order of tenants, so that writers do not deadlock.

-- name: add_traffic
-- $1 to $5 columns, one entry for each tenant.
INSERT INTO tenant_traffic AS t (tenant_id, requests, errors, cpu_s, parked)
SELECT
    c.tenant_id,
    c.requests,
    c.errors,
    c.cpu_s,
    c.parked
FROM
    unnest($1::text[], $2::bigint[], $3::bigint[], $4::double precision[], $5::bigint[])
        AS c (tenant_id, requests, errors, cpu_s, parked)
INNER JOIN service_homes AS h ON c.tenant_id = h.tenant_id
ORDER BY c.tenant_id
ON CONFLICT ON CONSTRAINT tenant_traffic_pkey DO UPDATE
    SET
        requests = t.requests + excluded.requests,
        errors = t.errors + excluded.errors,
        cpu_s = t.cpu_s + excluded.cpu_s,
        parked = t.parked + excluded.parked;

-- name: add_slow_reads
-- $1 to $5 columns, one entry for each tenant and call. Of a day, the slowest stays.
INSERT INTO slow_reads AS s (tenant_id, day, call, seconds, read_at, row_count)
SELECT
    r.tenant_id,
    r.day,
    r.call,
    r.seconds,
    r.read_at,
    r.row_count
FROM (
    SELECT
        n.tenant_id,
        n.call,
        n.seconds,
        n.read_at,
        n.row_count,
        (n.read_at AT TIME ZONE 'UTC')::date AS day -- noqa: RF04
    FROM
        unnest(
            $1::text[], $2::text[], $3::double precision[], $4::timestamptz[], $5::bigint[]
        ) AS n (tenant_id, call, seconds, read_at, row_count)
) AS r
INNER JOIN service_homes AS h ON r.tenant_id = h.tenant_id
LEFT JOIN slow_reads AS k ON r.tenant_id = k.tenant_id AND r.day = k.day AND r.call = k.call
WHERE k.seconds IS NULL OR k.seconds < r.seconds
ORDER BY r.tenant_id, r.day, r.call
ON CONFLICT ON CONSTRAINT slow_reads_pkey DO UPDATE
    SET
        seconds = excluded.seconds,
        read_at = excluded.read_at,
        row_count = excluded.row_count
    WHERE s.seconds < excluded.seconds;
