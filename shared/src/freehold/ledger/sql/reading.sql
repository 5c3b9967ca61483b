-- What the services and the auditor read. They call functions, so that their roles need no right on
-- any table. The columns of their answers are a view's (views.sql).

CREATE OR REPLACE FUNCTION balances(account_ids text[])
RETURNS SETOF balance_lines
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT l.* FROM balance_lines AS l
    WHERE l.account_id = ANY (account_ids)
    ORDER BY l.account_id, l.currency
$$;
COMMENT ON FUNCTION balances IS 'The projected balances of some accounts.';

CREATE OR REPLACE FUNCTION strong_balances(account_ids text[])
RETURNS SETOF balance_lines
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    -- One statement, hence one snapshot: state and tail meet exactly at the checkpoint.
    SELECT part.account_id, part.currency::text, sum(part.amount_minor),
        sum(part.event_count)::bigint,
        (array_agg(part.event_id ORDER BY part.seq DESC))[1],
        max(part.seq),
        max(part.changed_at),
        sum(part.held_minor)
    FROM (
        SELECT b.account_id, b.currency, b.current_balance_minor AS amount_minor, b.event_count,
            b.last_ledger_event_id AS event_id, b.last_seq AS seq,
            b.last_updated_time AS changed_at, b.held_minor
        FROM account_balances AS b
        WHERE b.account_id = ANY (account_ids)
        UNION ALL
        SELECT e.account_id, e.currency, e.amount_minor, 1, e.event_id, e.seq, e.recorded_at,
            coalesce(e.held_minor, 0)
        FROM ledger_events AS e
        WHERE e.account_id = ANY (account_ids)
            AND e.seq > (SELECT c.last_seq FROM projection_checkpoint AS c)
    ) AS part
    GROUP BY part.account_id, part.currency
    ORDER BY part.account_id, part.currency
$$;
COMMENT ON FUNCTION strong_balances IS
'The balances of some accounts including every event committed before the call.';

CREATE OR REPLACE FUNCTION list_balances(
    account_prefix text,
    only_currency text,
    min_balance numeric,
    max_balance numeric,
    after_account_id text,
    after_currency text,
    max_rows integer
)
RETURNS SETOF balance_lines
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
-- Planned for the filters and the position at hand: one plan for all of them would read and sort
-- the whole table for every page.
SET plan_cache_mode TO force_custom_plan
-- And always by the index, which has the order: before its statistics are made, a table that has
-- grown fast would be read and sorted whole.
SET enable_seqscan TO off
SET enable_bitmapscan TO off
AS $$
#variable_conflict use_column
DECLARE
    prefix CONSTANT text := coalesce(list_balances.account_prefix, '');
BEGIN
    RETURN QUERY
    SELECT b.account_id, b.currency::text, b.current_balance_minor, b.event_count,
        b.last_ledger_event_id, b.last_seq, b.last_updated_time, b.held_minor::numeric
    FROM account_balances AS b
    -- The index is read from the position, or from the prefix on the first page, to the last id
    -- with the prefix: the planner knows that bound of starts_with().
    WHERE (b.account_id, b.currency)
        > (coalesce(after_account_id, prefix), coalesce(after_currency, '')::char(3))
        AND starts_with(b.account_id, prefix)
        AND (only_currency IS NULL OR b.currency = only_currency::char(3))
        AND (min_balance IS NULL OR b.current_balance_minor >= min_balance)
        AND (max_balance IS NULL OR b.current_balance_minor <= max_balance)
    ORDER BY b.account_id, b.currency
    LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION list_balances IS
'Balances in order of account and currency, after a given one, filtered.';

CREATE OR REPLACE FUNCTION balance_before(
    account_prefix text,
    only_currency text,
    from_account_id text,
    from_currency text,
    steps integer
)
RETURNS TABLE (account_id text, currency text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
-- As for list_balances, backwards.
SET plan_cache_mode TO force_custom_plan
SET enable_seqscan TO off
SET enable_bitmapscan TO off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT b.account_id, b.currency::text
    FROM account_balances AS b
    WHERE (b.account_id, b.currency) < (from_account_id, from_currency::char(3))
        AND starts_with(b.account_id, balance_before.account_prefix)
        AND (only_currency IS NULL OR b.currency = only_currency::char(3))
    ORDER BY b.account_id DESC, b.currency DESC
    OFFSET steps - 1
    LIMIT 1;
END
$$;
COMMENT ON FUNCTION balance_before IS
'The balance so many steps before another one of list_balances; none if there are fewer.';

CREATE OR REPLACE FUNCTION event(wanted_event_id uuid)
RETURNS SETOF event_lines
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT l.* FROM event_lines AS l WHERE l.event_id = wanted_event_id
$$;
COMMENT ON FUNCTION event IS 'One event by its id.';

CREATE OR REPLACE FUNCTION event_at(
    wanted_seq bigint, OUT seq bigint, OUT event_id uuid, OUT hash bytea
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT e.seq, e.event_id, e.hash FROM ledger_events AS e WHERE e.seq = wanted_seq
$$;
COMMENT ON FUNCTION event_at IS
'The event with this seq, to compare with an anchor that is kept outside the ledger.';

CREATE OR REPLACE FUNCTION head(
    OUT last_seq bigint,
    OUT last_event_id uuid,
    OUT last_hash bytea,
    OUT last_recorded_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT last_seq, last_event_id, last_hash, last_recorded_at FROM ledger_head
$$;
COMMENT ON FUNCTION head IS 'Where the ledger ends.';

CREATE OR REPLACE FUNCTION legs(wanted_transaction_id uuid)
RETURNS SETOF event_lines
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    -- The first leg's event_id is the transaction's id, and the legs follow each other.
    RETURN QUERY
    SELECT l.*
    FROM (
        SELECT * FROM event_lines AS e
        WHERE e.event_id >= wanted_transaction_id
        ORDER BY e.event_id
        LIMIT 100
    ) AS l
    WHERE l.transaction_id = wanted_transaction_id
    ORDER BY l.event_id;
END
$$;
COMMENT ON FUNCTION legs IS 'The legs of a balanced transaction, 100 at most; none if unknown.';

CREATE OR REPLACE FUNCTION hold_events(wanted_hold_id uuid)
RETURNS SETOF event_lines
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT l.*
    FROM holds AS h
    CROSS JOIN LATERAL (
        SELECT * FROM event_lines AS l WHERE l.event_id IN (h.hold_id, h.settled_event_id)
        OFFSET 0
    ) AS l
    WHERE h.hold_id = wanted_hold_id
    ORDER BY l.seq
$$;
COMMENT ON FUNCTION hold_events IS
'The events of a hold: the one that placed it, and the one that settled it, if any.';

CREATE OR REPLACE FUNCTION list_holds(
    only_account_id text,
    account_prefix text,
    only_pending boolean,
    before_hold_id uuid,
    max_holds integer
)
RETURNS SETOF event_lines
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
-- Planned for the filters at hand: pending holds, and those of an account, have an index each.
SET plan_cache_mode TO force_custom_plan
AS $$
BEGIN
    RETURN QUERY
    SELECT l.*
    FROM (
        SELECT h.hold_id, h.settled_event_id
        FROM holds AS h
        INNER JOIN ledger_events AS e ON e.event_id = h.hold_id
        WHERE e.held_minor > 0
            AND (only_account_id IS NULL OR e.account_id = only_account_id)
            AND (account_prefix IS NULL OR starts_with(e.account_id, account_prefix))
            AND (only_pending IS NULL OR only_pending = (h.settled_event_id IS NULL))
            AND (before_hold_id IS NULL OR h.hold_id < before_hold_id)
        ORDER BY h.hold_id DESC
        LIMIT max_holds
    ) AS h
    CROSS JOIN LATERAL (
        SELECT * FROM event_lines AS l WHERE l.event_id IN (h.hold_id, h.settled_event_id)
        OFFSET 0
    ) AS l
    ORDER BY h.hold_id DESC, l.seq;
END
$$;
COMMENT ON FUNCTION list_holds IS
'The events of holds, each as in hold_events: the newest hold first, before a given one, filtered. '
'Pending ones only, settled ones only, or (null) both.';

CREATE OR REPLACE FUNCTION event_proof(
    wanted_event_id uuid, OUT previous_hash bytea, OUT content bytea, OUT hash bytea
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT
        coalesce(
            (
                SELECT p.hash FROM ledger_events AS p
                WHERE p.event_id < wanted_event_id ORDER BY p.event_id DESC LIMIT 1
            ),
            decode(repeat('00', 32), 'hex')
        ),
        event_bytes(
            e.seq, e.event_id, e.account_id, e.transaction_time, e.recorded_at, e.event_type,
            e.amount_minor, e.currency, e.transaction_id, e.reverses_event_id, e.refunds_event_id,
            e.external_id, e.metadata, e.hold_id, e.held_minor, e.hold_expires_at
        ),
        e.hash
    FROM ledger_events AS e
    WHERE e.event_id = wanted_event_id
$$;
COMMENT ON FUNCTION event_proof IS
'What one event''s hash covers, the hash of the event before it and its canonical bytes, and the '
'hash as it is stored. Nulls where there is no such event.';
