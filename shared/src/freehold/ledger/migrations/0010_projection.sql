-- The projection with what is held, and with when the next hold expires.

DROP FUNCTION project;
DROP FUNCTION reconcile;
DROP FUNCTION replay;

CREATE FUNCTION project(
    max_events integer DEFAULT 100000,
    OUT from_seq bigint,
    OUT last_seq bigint,
    OUT last_event_id uuid,
    OUT head_seq bigint,
    OUT epoch bigint,
    OUT next_hold_expiry timestamptz
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
-- As for append: one plan, made once, that suits small tables and large ones.
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
            coalesce(e.held_minor, 0) AS held_minor
        FROM ledger_events AS e
        WHERE e.event_id > checkpoint.last_ledger_event_id
        ORDER BY e.event_id
        LIMIT project.max_events
    ),
    changes AS (
        SELECT t.account_id, t.currency, sum(t.amount_minor) AS amount_minor,
            sum(t.held_minor) AS held_minor, count(*) AS event_count, max(t.seq) AS last_seq,
            max(t.event_id::text COLLATE "C")::uuid AS last_event_id
        FROM tail AS t
        -- The second guard: a row that has seen an event never sees it again.
        WHERE t.event_id > coalesce(
            (
                SELECT b.last_ledger_event_id FROM account_balances AS b
                WHERE b.account_id = t.account_id AND b.currency = t.currency
            ),
            '00000000-0000-0000-0000-000000000000'
        )
        GROUP BY t.account_id, t.currency
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
    advanced AS (
        UPDATE projection_checkpoint AS c
        SET last_seq = t.seq,
            last_ledger_event_id = t.event_id
        FROM (SELECT * FROM tail ORDER BY event_id DESC LIMIT 1) AS t
    )
    SELECT t.seq, t.event_id INTO applied FROM tail AS t ORDER BY t.event_id DESC LIMIT 1;

    project.from_seq := checkpoint.last_seq + 1;
    project.last_seq := coalesce(applied.seq, checkpoint.last_seq);
    project.last_event_id := coalesce(applied.event_id, checkpoint.last_ledger_event_id);
    project.epoch := checkpoint.epoch;
    SELECT h.last_seq INTO project.head_seq FROM ledger_head AS h;
    SELECT s.next_hold_expiry INTO project.next_hold_expiry FROM ledger_settings AS s;
END
$$;
COMMENT ON FUNCTION project IS
'Applies at most max_events of the ledger''s tail; says from where, to where, where it ends, and '
'when a hold may expire next.';

-- What the state table would hold if it were made anew from the ledger.
CREATE FUNCTION replay(through_event_id uuid)
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

CREATE FUNCTION reconcile()
RETURNS TABLE (
    account_id text,
    currency text,
    state_balance_minor numeric,
    ledger_balance_minor numeric,
    state_held_minor numeric,
    ledger_held_minor numeric,
    state_event_count bigint,
    ledger_event_count bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT coalesce(b.account_id, r.account_id), coalesce(b.currency, r.currency)::text,
        b.current_balance_minor, r.current_balance_minor, b.held_minor, r.held_minor,
        b.event_count, r.event_count
    FROM account_balances AS b
    FULL JOIN replay(
        (SELECT c.last_ledger_event_id FROM projection_checkpoint AS c)
    ) AS r ON r.account_id = b.account_id AND r.currency = b.currency
    WHERE (
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

    UPDATE projection_checkpoint AS c
    SET last_seq = through.last_seq,
        last_ledger_event_id = through.last_event_id;
    RETURN through.last_seq;
END
$$;
COMMENT ON FUNCTION rebuild IS
'Makes the state anew from the ledger while reads go on; returns its last seq.';
