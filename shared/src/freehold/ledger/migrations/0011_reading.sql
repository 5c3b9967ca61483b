-- What is read, with holds and transactions. New columns stand last: a view grows no other way.

CREATE OR REPLACE VIEW balance_lines AS
SELECT
    b.account_id,
    b.currency::text AS currency,
    b.current_balance_minor::numeric AS current_balance_minor,
    b.event_count,
    b.last_ledger_event_id,
    b.last_seq,
    b.last_updated_time,
    b.held_minor::numeric AS held_minor
FROM account_balances AS b;

CREATE OR REPLACE VIEW event_lines AS
SELECT
    e.event_id,
    e.seq,
    e.account_id,
    e.transaction_time,
    e.recorded_at,
    e.event_type,
    e.amount_minor,
    e.currency::text AS currency,
    e.transaction_id,
    e.reverses_event_id,
    e.external_id,
    e.metadata::text AS metadata_json,
    e.hash,
    e.hold_id,
    e.held_minor,
    e.hold_expires_at
FROM ledger_events AS e;

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
-- Planned for the filters and the place at hand: one plan for all of them would read and sort the
-- whole table for every page.
SET plan_cache_mode TO force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    prefix CONSTANT text := coalesce(list_balances.account_prefix, '');
BEGIN
    RETURN QUERY
    SELECT b.account_id, b.currency::text, b.current_balance_minor, b.event_count,
        b.last_ledger_event_id, b.last_seq, b.last_updated_time, b.held_minor::numeric
    FROM account_balances AS b
    -- The index is read from the place, or from the prefix where there is none yet, up to the
    -- prefix with the last of all characters, U+10FFFF.
    WHERE (b.account_id, b.currency)
        > (coalesce(after_account_id, prefix), coalesce(after_currency, '')::char(3))
        AND b.account_id < prefix || chr(1114111)
        AND starts_with(b.account_id, prefix)
        AND (only_currency IS NULL OR b.currency = only_currency::char(3))
        AND (min_balance IS NULL OR b.current_balance_minor >= min_balance)
        AND (max_balance IS NULL OR b.current_balance_minor <= max_balance)
    ORDER BY b.account_id, b.currency
    LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION list_balances IS
'Balances in order of account and currency, after a given place, filtered.';

CREATE FUNCTION written(first_event_ids text[], last_event_ids text[])
RETURNS SETOF event_lines
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT l.*
    FROM unnest(first_event_ids, last_event_ids) AS r (first_event_id, last_event_id)
    CROSS JOIN LATERAL (
        SELECT * FROM event_lines AS l
        WHERE l.event_id BETWEEN r.first_event_id::uuid AND r.last_event_id::uuid
        OFFSET 0
    ) AS l
    ORDER BY l.seq
$$;
COMMENT ON FUNCTION written IS 'The events from each first to each last one, in ledger order.';

CREATE FUNCTION legs(wanted_transaction_id uuid)
RETURNS SETOF event_lines
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    -- They begin with the event that the transaction is named after, and stand together.
    SELECT l.*
    FROM (
        SELECT * FROM event_lines AS e
        WHERE e.event_id >= wanted_transaction_id
        ORDER BY e.event_id
        LIMIT 100
    ) AS l
    WHERE l.transaction_id = wanted_transaction_id
    ORDER BY l.event_id
$$;
COMMENT ON FUNCTION legs IS 'The legs of a balanced transaction, 100 at most; none if unknown.';

CREATE FUNCTION hold_events(wanted_hold_ids text[])
RETURNS SETOF event_lines
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT l.*
    FROM unnest(wanted_hold_ids) AS w (hold_id)
    CROSS JOIN LATERAL (
        SELECT * FROM holds AS h WHERE h.hold_id = w.hold_id::uuid
        OFFSET 0
    ) AS h
    CROSS JOIN LATERAL (
        SELECT * FROM event_lines AS l WHERE l.event_id IN (h.hold_id, h.settled_event_id)
        OFFSET 0
    ) AS l
    ORDER BY l.seq
$$;
COMMENT ON FUNCTION hold_events IS
'The life of holds: the event that placed each, and the one that settled it if any.';
