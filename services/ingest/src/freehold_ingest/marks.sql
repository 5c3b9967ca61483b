-- Queries of the catalog by ingest's relay (see marks.py).

-- name: mark
-- $1 this instance, $2 the tenants it is about to append for; tells whether it had been forgotten.
WITH me AS (
    INSERT INTO ingest_instances AS i (instance_id) VALUES ($1)
    ON CONFLICT (instance_id) DO UPDATE SET seen_at = now()
    RETURNING
        i.instance_id,
        (i.xmax = 0) AS anew
),

marked AS (
    INSERT INTO announcement_marks (instance_id, tenant_id)
    SELECT
        me.instance_id,
        wanted.tenant_id
    FROM me
    CROSS JOIN unnest($2::text[]) AS wanted (tenant_id)
    ON CONFLICT DO NOTHING
)

SELECT me.anew FROM me;

-- name: beat
-- $1 this instance; tells whether it had been taken for dead.
INSERT INTO ingest_instances AS i (instance_id) VALUES ($1)
ON CONFLICT (instance_id) DO UPDATE SET seen_at = now()
RETURNING (i.xmax = 0) AS anew;

-- name: unmark
-- $1 this instance, $2 tenants that are idle and announced.
DELETE FROM announcement_marks
WHERE instance_id = $1 AND tenant_id = any($2);

-- name: find_dead
-- $1 seconds without a heartbeat, $2 this instance.
SELECT instance_id
FROM ingest_instances
WHERE seen_at < now() - make_interval(secs => $1) AND instance_id <> $2
ORDER BY seen_at
LIMIT 1
FOR UPDATE SKIP LOCKED;

-- name: take_marks
-- $1 a dead instance, $2 this one, $3 how many marks at most.
WITH taken AS (
    DELETE FROM announcement_marks
    WHERE (instance_id, tenant_id) IN (
        SELECT
            m.instance_id,
            m.tenant_id
        FROM announcement_marks AS m
        WHERE m.instance_id = $1
        ORDER BY m.tenant_id
        LIMIT $3
    )
    RETURNING tenant_id
),

kept AS (
    INSERT INTO announcement_marks (instance_id, tenant_id)
    SELECT
        $2 AS instance_id,
        taken.tenant_id
    FROM taken
    ON CONFLICT DO NOTHING
)

SELECT taken.tenant_id FROM taken;

-- name: remove_instance
-- $1 an instance that is dead, or has announced everything; its marks go with it.
DELETE FROM ingest_instances
WHERE instance_id = $1;
