-- The projection: applies the ledger's tail to the state tables. The ledger is read from the
-- checkpoint, so a duplicate, late or forged doorbell can never change a balance.

CREATE OR REPLACE FUNCTION project(
    max_events integer DEFAULT 100000,
    OUT from_seq bigint,
    OUT last_seq bigint,
    OUT last_event_id uuid,
    OUT head_seq bigint,
    OUT epoch bigint,
    OUT next_hold_expiry timestamptz,
    OUT unindexed boolean
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
-- As for append: one plan that suits small tables and large ones.
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off
SET jit TO off
AS $$
#variable_conflict use_column
DECLARE
    checkpoint projection_checkpoint%ROWTYPE;
    applied record;
BEGIN
    SELECT c.* INTO checkpoint FROM projection_checkpoint AS c FOR UPDATE;

    WITH tail AS MATERIALIZED (
        SELECT e.event_id, e.seq, e.account_id, e.currency, e.amount_minor,
            coalesce(e.held_minor, 0) AS held_minor, e.event_type, e.transaction_time
        FROM ledger_events AS e
        WHERE e.event_id > checkpoint.last_ledger_event_id
        ORDER BY e.event_id
        LIMIT project.max_events
    ),
    -- The second guard: an account that has seen an event never sees it again.
    unseen AS MATERIALIZED (
        SELECT t.*, b.event_count AS count_before
        FROM tail AS t
        LEFT JOIN LATERAL (
            SELECT b.last_ledger_event_id, b.event_count FROM account_balances AS b
            WHERE b.account_id = t.account_id AND b.currency = t.currency
            OFFSET 0
        ) AS b ON true
        WHERE t.event_id > coalesce(
            b.last_ledger_event_id, '00000000-0000-0000-0000-000000000000'
        )
    ),
    changes AS (
        SELECT u.account_id, u.currency, sum(u.amount_minor) AS amount_minor,
            sum(u.held_minor) AS held_minor, count(*) AS event_count, max(u.seq) AS last_seq,
            max(u.event_id::text COLLATE "C")::uuid AS last_event_id,
            coalesce(max(u.count_before), 0) AS count_before
        FROM unseen AS u
        GROUP BY u.account_id, u.currency
    ),
    updated AS (
        INSERT INTO account_balances AS b (
            account_id, currency, current_balance_minor, held_minor, event_count,
            last_ledger_event_id, last_seq, last_updated_time
        )
        SELECT c.account_id, c.currency, c.amount_minor, c.held_minor, c.event_count,
            c.last_event_id, c.last_seq, clock_timestamp()
        FROM changes AS c
        ON CONFLICT ON CONSTRAINT account_balances_pkey DO UPDATE
        SET current_balance_minor = b.current_balance_minor + excluded.current_balance_minor,
            held_minor = b.held_minor + excluded.held_minor,
            event_count = b.event_count + excluded.event_count,
            last_ledger_event_id = excluded.last_ledger_event_id,
            last_seq = excluded.last_seq,
            last_updated_time = excluded.last_updated_time
    ),
    rolled_up AS (
        INSERT INTO activity_rollups AS r (
            quarter_hour, currency, event_type, event_count, amount_in_minor, amount_out_minor
        )
        SELECT quarter_hour_of(u.transaction_time), u.currency, u.event_type, count(*),
            coalesce(sum(u.amount_minor) FILTER (WHERE u.amount_minor > 0), 0),
            coalesce(-sum(u.amount_minor) FILTER (WHERE u.amount_minor < 0), 0)
        FROM unseen AS u
        GROUP BY 1, u.currency, u.event_type
        ON CONFLICT ON CONSTRAINT activity_rollups_pkey DO UPDATE
        SET event_count = r.event_count + excluded.event_count,
            amount_in_minor = r.amount_in_minor + excluded.amount_in_minor,
            amount_out_minor = r.amount_out_minor + excluded.amount_out_minor
    ),
    advanced AS (
        UPDATE projection_checkpoint AS c
        SET last_seq = t.seq,
            last_ledger_event_id = t.event_id
        FROM (SELECT * FROM tail ORDER BY event_id DESC LIMIT 1) AS t
    )
    SELECT t.seq, t.event_id,
        -- A block may have become whole where a count has passed a multiple of 1024. To look for it
        -- at each event would cost too much.
        ARRAY(
            SELECT c.account_id FROM changes AS c
            WHERE (c.count_before + c.event_count) % (events_per_block() / 4) < c.event_count
        ) AS grown
    INTO applied
    FROM tail AS t
    ORDER BY t.event_id DESC
    LIMIT 1;
    IF applied.grown <> '{}' THEN
        PERFORM seal_blocks(applied.grown);
    END IF;

    project.from_seq := checkpoint.last_seq + 1;
    project.last_seq := coalesce(applied.seq, checkpoint.last_seq);
    project.last_event_id := coalesce(applied.event_id, checkpoint.last_ledger_event_id);
    project.epoch := checkpoint.epoch;
    SELECT h.last_seq INTO project.head_seq FROM ledger_head AS h;
    SELECT s.next_hold_expiry INTO project.next_hold_expiry FROM ledger_settings AS s;
    -- In short steps, since nothing is projected meanwhile.
    project.unindexed := (
        EXISTS (SELECT FROM searchable_metadata) OR EXISTS (SELECT FROM metadata_indexes)
    ) AND index_metadata(greatest(least(project.max_events, 10000), 1));
END
$$;
COMMENT ON FUNCTION project IS
'Applies at most max_events of the ledger''s tail. Returns the first and the last seq applied, the '
'ledger''s last seq, when a hold may expire next, and whether a metadata index lags behind.';

-- The state as it would be if it were made anew from the ledger.
CREATE OR REPLACE FUNCTION replay(through_event_id uuid)
RETURNS TABLE (
    account_id text,
    currency char(3),
    current_balance_minor numeric,
    held_minor numeric,
    event_count bigint,
    last_ledger_event_id uuid,
    last_seq bigint
)
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $$
    SELECT e.account_id, e.currency, sum(e.amount_minor), sum(coalesce(e.held_minor, 0)), count(*),
        max(e.event_id::text COLLATE "C")::uuid, max(e.seq)
    FROM ledger_events AS e
    WHERE e.event_id <= through_event_id
    GROUP BY e.account_id, e.currency
$$;

CREATE OR REPLACE FUNCTION reconcile()
RETURNS TABLE (
    account_id text,
    currency text,
    state_balance_minor numeric,
    ledger_balance_minor numeric,
    state_held_minor numeric,
    ledger_held_minor numeric,
    state_event_count bigint,
    ledger_event_count bigint,
    blocks_differ boolean
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT coalesce(b.account_id, r.account_id, d.account_id),
        coalesce(b.currency, r.currency, d.currency)::text,
        b.current_balance_minor, r.current_balance_minor, b.held_minor, r.held_minor,
        b.event_count, r.event_count, d.account_id IS NOT NULL
    FROM account_balances AS b
    FULL JOIN replay(
        (SELECT c.last_ledger_event_id FROM projection_checkpoint AS c)
    ) AS r ON r.account_id = b.account_id AND r.currency = b.currency
    FULL JOIN differing_blocks() AS d
        ON d.account_id = coalesce(b.account_id, r.account_id)
        AND d.currency = coalesce(b.currency, r.currency)
    WHERE d.account_id IS NOT NULL OR (
        b.current_balance_minor, b.held_minor, b.event_count, b.last_ledger_event_id, b.last_seq
    )
        IS DISTINCT FROM (
            r.current_balance_minor, r.held_minor, r.event_count, r.last_ledger_event_id, r.last_seq
        )
    ORDER BY 1, 2
$$;
COMMENT ON FUNCTION reconcile IS
'The accounts whose state differs from the ledger up to the checkpoint: none, when all is well.';

CREATE OR REPLACE FUNCTION rebuild() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    through record;
BEGIN
    -- Holding the checkpoint keeps projections out; readers see the old state until commit.
    PERFORM FROM projection_checkpoint FOR UPDATE;
    SELECT h.last_seq, h.last_event_id INTO through FROM ledger_head AS h;

    DELETE FROM account_balances AS b
    WHERE NOT EXISTS (
        SELECT FROM ledger_events AS e
        WHERE e.account_id = b.account_id AND e.currency = b.currency
            AND e.event_id <= through.last_event_id
    );

    INSERT INTO account_balances AS b (
        account_id, currency, current_balance_minor, held_minor, event_count,
        last_ledger_event_id, last_seq, last_updated_time
    )
    SELECT r.account_id, r.currency, r.current_balance_minor, r.held_minor, r.event_count,
        r.last_ledger_event_id, r.last_seq, clock_timestamp()
    FROM replay(through.last_event_id) AS r
    ON CONFLICT ON CONSTRAINT account_balances_pkey DO UPDATE
    SET current_balance_minor = excluded.current_balance_minor,
        held_minor = excluded.held_minor,
        event_count = excluded.event_count,
        last_ledger_event_id = excluded.last_ledger_event_id,
        last_seq = excluded.last_seq,
        last_updated_time = excluded.last_updated_time
    WHERE (
        b.current_balance_minor, b.held_minor, b.event_count, b.last_ledger_event_id, b.last_seq
    )
        IS DISTINCT FROM (
            excluded.current_balance_minor, excluded.held_minor, excluded.event_count,
            excluded.last_ledger_event_id, excluded.last_seq
        );

    DELETE FROM block_pages;
    DELETE FROM account_blocks;
    PERFORM seal_blocks(
        ARRAY(
            SELECT b.account_id FROM account_balances AS b
            GROUP BY b.account_id
            HAVING sum(b.event_count) >= events_per_block()
        )
    );

    UPDATE projection_checkpoint AS c
    SET last_seq = through.last_seq,
        last_ledger_event_id = through.last_event_id;

    DELETE FROM activity_rollups;
    INSERT INTO activity_rollups SELECT r.* FROM replay_activity(through.last_event_id) AS r;
    DELETE FROM metadata_values;
    DELETE FROM metadata_indexes;
    WHILE index_metadata(100000) LOOP
    END LOOP;
    RETURN through.last_seq;
END
$$;
COMMENT ON FUNCTION rebuild IS
'Makes the state anew from the ledger while reads go on; returns the last seq that it has.';

CREATE OR REPLACE FUNCTION projection_lag(
    OUT head_seq bigint,
    OUT projected_seq bigint,
    OUT events_behind bigint,
    OUT seconds_behind double precision,
    OUT epoch bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT h.last_seq, c.last_seq, h.last_seq - c.last_seq,
        coalesce(
            (
                SELECT greatest(extract(EPOCH FROM clock_timestamp() - e.recorded_at), 0)
                FROM ledger_events AS e
                WHERE e.event_id > c.last_ledger_event_id
                ORDER BY e.event_id
                LIMIT 1
            ),
            0
        )::double precision,
        c.epoch
    -- LIMIT states what the planner cannot know of a new table: each has one row.
    FROM (SELECT * FROM ledger_head LIMIT 1) AS h
    CROSS JOIN (SELECT * FROM projection_checkpoint LIMIT 1) AS c
$$;
COMMENT ON FUNCTION projection_lag IS
'How far the state is behind the ledger, in events and in seconds.';
