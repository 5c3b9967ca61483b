-- The index of searchable metadata: for each declared key, the events that have a value there.
-- Nothing is kept of any other key.

CREATE OR REPLACE FUNCTION index_metadata(max_events integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET enable_seqscan TO off
SET jit TO off
AS $$
DECLARE
    checkpoint projection_checkpoint%ROWTYPE;
    undeclared text[];
    step record;
BEGIN
    SELECT c.* INTO checkpoint FROM projection_checkpoint AS c FOR UPDATE;
    INSERT INTO metadata_indexes (metadata_key) SELECT m.metadata_key FROM searchable_metadata AS m
    ON CONFLICT ON CONSTRAINT metadata_indexes_pkey DO NOTHING;

    undeclared := ARRAY(
        SELECT i.metadata_key FROM metadata_indexes AS i
        WHERE NOT EXISTS (SELECT FROM searchable_metadata AS m WHERE m.metadata_key = i.metadata_key)
    );
    IF undeclared <> '{}' THEN
        -- First: a key that is declared again meanwhile is indexed from the beginning.
        UPDATE metadata_indexes AS i
        SET last_seq = 0,
            last_ledger_event_id = DEFAULT
        WHERE i.metadata_key = ANY (undeclared) AND i.last_seq > 0;
        DELETE FROM metadata_values AS v
        WHERE (v.metadata_key, v.metadata_value, v.seq) IN (
            SELECT g.metadata_key, g.metadata_value, g.seq FROM metadata_values AS g
            WHERE g.metadata_key = ANY (undeclared)
            LIMIT max_events
        );
        DELETE FROM metadata_indexes AS i
        WHERE i.metadata_key = ANY (undeclared)
            AND NOT EXISTS (SELECT FROM metadata_values AS v WHERE v.metadata_key = i.metadata_key);
    END IF;

    -- Keys that stand at the same event go on together.
    FOR step IN
        SELECT i.last_ledger_event_id AS after_event_id, array_agg(i.metadata_key) AS keys
        FROM metadata_indexes AS i
        WHERE i.last_seq < checkpoint.last_seq AND i.metadata_key <> ALL (undeclared)
        GROUP BY i.last_ledger_event_id
    LOOP
        WITH tail AS MATERIALIZED (
            SELECT e.event_id, e.seq, e.metadata FROM ledger_events AS e
            WHERE e.event_id > step.after_event_id
                AND e.event_id <= checkpoint.last_ledger_event_id
            ORDER BY e.event_id
            LIMIT max_events
        ),
        added AS (
            INSERT INTO metadata_values (metadata_key, metadata_value, seq, event_id)
            SELECT k.metadata_key, t.metadata ->> k.metadata_key, t.seq, t.event_id
            FROM tail AS t
            CROSS JOIN unnest(step.keys) AS k (metadata_key)
            WHERE t.metadata ? k.metadata_key
            ON CONFLICT ON CONSTRAINT metadata_values_pkey DO NOTHING
        )
        -- A step that is not full has come to the checkpoint.
        UPDATE metadata_indexes AS i
        SET last_seq = coalesce(t.seq, checkpoint.last_seq),
            last_ledger_event_id = coalesce(t.event_id, checkpoint.last_ledger_event_id)
        FROM (SELECT) AS step_end
        LEFT JOIN (
            SELECT * FROM tail ORDER BY event_id OFFSET max_events - 1 LIMIT 1
        ) AS t ON true
        WHERE i.metadata_key = ANY (step.keys);
    END LOOP;

    RETURN EXISTS (
        SELECT FROM metadata_indexes AS i
        WHERE i.last_seq < checkpoint.last_seq
            OR NOT EXISTS (SELECT FROM searchable_metadata AS m WHERE m.metadata_key = i.metadata_key)
    );
END
$$;
COMMENT ON FUNCTION index_metadata IS
'Indexes the next max_events projected events for each searchable key, and removes as many values '
'of keys that no longer are. Returns whether there is more to do.';

CREATE OR REPLACE FUNCTION reconcile_metadata() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT i.metadata_key
    FROM metadata_indexes AS i
    INNER JOIN searchable_metadata AS m ON m.metadata_key = i.metadata_key
    WHERE EXISTS (
        SELECT
        FROM (
            SELECT v.metadata_value, v.seq, v.event_id FROM metadata_values AS v
            WHERE v.metadata_key = i.metadata_key
        ) AS v
        FULL JOIN (
            SELECT e.metadata ->> i.metadata_key AS metadata_value, e.seq, e.event_id FROM ledger_events AS e
            WHERE e.event_id <= i.last_ledger_event_id AND e.metadata ? i.metadata_key
        ) AS e ON e.event_id = v.event_id
        WHERE (v.metadata_value, v.seq) IS DISTINCT FROM (e.metadata_value, e.seq)
    )
    ORDER BY i.metadata_key
$$;
COMMENT ON FUNCTION reconcile_metadata IS
'The searchable keys whose index differs from the ledger up to where it stands: none, when all is '
'well.';
