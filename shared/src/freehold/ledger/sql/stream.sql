-- What live streams read: the balances that changed after a position in the ledger.

CREATE OR REPLACE FUNCTION changed_balances(
    after_epoch bigint,
    after_event_id uuid,
    max_events integer
)
RETURNS TABLE (
    epoch bigint,
    through_event_id uuid,
    events_left bigint,
    account_id text,
    currency text,
    current_balance_minor numeric,
    event_count bigint,
    last_ledger_event_id uuid,
    last_seq bigint,
    last_updated_time timestamptz,
    held_minor numeric
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
-- As for project: one plan that suits small tables and large ones.
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off
SET jit TO off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH checkpoint AS MATERIALIZED (
        SELECT c.epoch, c.last_seq, c.last_ledger_event_id FROM projection_checkpoint AS c
    ),
    tail AS MATERIALIZED (
        SELECT e.event_id, e.seq, e.account_id, e.currency
        FROM ledger_events AS e
        WHERE e.event_id > after_event_id
            AND e.event_id <= (
                -- A position of another epoch is none in this ledger: nothing follows it.
                SELECT c.last_ledger_event_id FROM checkpoint AS c WHERE c.epoch = after_epoch
            )
        ORDER BY e.event_id
        LIMIT max_events
    )
    SELECT c.epoch, coalesce(r.event_id, c.last_ledger_event_id),
        c.last_seq - coalesce(r.seq, c.last_seq),
        b.account_id, b.currency, b.current_balance_minor, b.event_count, b.last_ledger_event_id,
        b.last_seq, b.last_updated_time, b.held_minor
    FROM checkpoint AS c
    LEFT JOIN (SELECT * FROM tail ORDER BY event_id DESC LIMIT 1) AS r ON true
    LEFT JOIN tail AS t
        -- Only the last event of a balance has its row, so each is told once. One that changes again
        -- after the tail is told with that change.
        CROSS JOIN LATERAL (
            SELECT l.* FROM balance_lines AS l
            WHERE l.account_id = t.account_id
                AND l.currency = t.currency
                AND l.last_ledger_event_id = t.event_id
        ) AS b ON true
    ORDER BY t.event_id;
END
$$;
COMMENT ON FUNCTION changed_balances IS
'The balances that at most max_events projected events after a position changed, in order of the '
'last one, with the position reached and the projected events that are left; at least one row, '
'without a balance where none changed.';
