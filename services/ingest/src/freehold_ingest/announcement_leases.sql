-- The catalog's queries for announcement leases (see announcement_leases.py). An instance's row of
-- ingest_instances is its one lease for all of its tenants.

-- name: lease
-- $1 this instance, $2 the lease's length in seconds, $3 tenants that it is about to append for.
-- Says whether other instances had taken this one for dead.
WITH me AS (
    INSERT INTO ingest_instances AS i (instance_id, leased_until)
    VALUES ($1, now() + make_interval(secs => $2))
    ON CONFLICT (instance_id) DO UPDATE SET leased_until = excluded.leased_until
    RETURNING
        i.instance_id,
        (i.xmax = 0) AS is_new
),

leased AS (
    INSERT INTO announcement_leases (instance_id, tenant_id)
    SELECT
        me.instance_id,
        wanted.tenant_id
    FROM me
    CROSS JOIN unnest($3::text[]) AS wanted (tenant_id)
    ON CONFLICT DO NOTHING
)

SELECT me.is_new FROM me;

-- name: release
-- $1 this instance, $2 tenants that are idle and announced.
DELETE FROM announcement_leases
WHERE instance_id = $1 AND tenant_id = any($2);

-- name: find_dead
-- $1 this instance, $2 the lease's length in seconds. A lease that ends later than one begun now
-- was written by a clock that has been set back; its instance is dead unless it has renewed since.
SELECT instance_id
FROM ingest_instances
WHERE
    leased_until NOT BETWEEN now() AND now() + make_interval(secs => $2)
    AND instance_id <> $1
ORDER BY leased_until
LIMIT 1
FOR UPDATE SKIP LOCKED;

-- name: take_over
-- $1 this instance, $2 a dead one, $3 how many tenants at most.
WITH taken AS (
    DELETE FROM announcement_leases
    WHERE (instance_id, tenant_id) IN (
        SELECT
            l.instance_id,
            l.tenant_id
        FROM announcement_leases AS l
        WHERE l.instance_id = $2
        ORDER BY l.tenant_id
        LIMIT $3
    )
    RETURNING tenant_id
),

leased AS (
    INSERT INTO announcement_leases (instance_id, tenant_id)
    SELECT
        $1 AS instance_id,
        taken.tenant_id
    FROM taken
    ON CONFLICT DO NOTHING
)

SELECT taken.tenant_id FROM taken;

-- name: remove_instance
-- $1 an instance that is dead, or has announced everything; its leases go with it.
DELETE FROM ingest_instances
WHERE instance_id = $1;
