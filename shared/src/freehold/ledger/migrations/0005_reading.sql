-- What the query service reads. Functions, so that its role needs no right on any table; what a
-- line of their answers holds is said once, by a view.

CREATE VIEW balance_lines AS
SELECT
    b.account_id,
    b.currency::text AS currency,
    b.current_balance_minor::numeric AS current_balance_minor,
    b.event_count,
    b.last_ledger_event_id,
    b.last_seq,
    b.last_updated_time
FROM account_balances AS b;

CREATE VIEW event_lines AS
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
    e.hash
FROM ledger_events AS e;

CREATE FUNCTION balances(account_ids text[])
RETURNS SETOF balance_lines
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT l.* FROM balance_lines AS l
    WHERE l.account_id = ANY (account_ids)
    ORDER BY l.account_id, l.currency
$$;
COMMENT ON FUNCTION balances IS 'The projected balances of some accounts.';

CREATE FUNCTION strong_balances(account_ids text[])
RETURNS SETOF balance_lines
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    -- One statement, hence one snapshot: state and tail meet exactly at the checkpoint.
    SELECT part.account_id, part.currency::text, sum(part.amount_minor),
        sum(part.event_count)::bigint,
        (array_agg(part.event_id ORDER BY part.seq DESC))[1],
        max(part.seq),
        max(part.changed_at)
    FROM (
        SELECT b.account_id, b.currency, b.current_balance_minor AS amount_minor, b.event_count,
            b.last_ledger_event_id AS event_id, b.last_seq AS seq,
            b.last_updated_time AS changed_at
        FROM account_balances AS b
        WHERE b.account_id = ANY (account_ids)
        UNION ALL
        SELECT e.account_id, e.currency, e.amount_minor, 1, e.event_id, e.seq, e.recorded_at
        FROM ledger_events AS e
        WHERE e.account_id = ANY (account_ids)
            AND e.seq > (SELECT c.last_seq FROM projection_checkpoint AS c)
    ) AS part
    GROUP BY part.account_id, part.currency
    ORDER BY part.account_id, part.currency
$$;
COMMENT ON FUNCTION strong_balances IS
'The balances of some accounts including every event committed before the call.';

CREATE FUNCTION list_balances(
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
        b.last_ledger_event_id, b.last_seq, b.last_updated_time
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

CREATE FUNCTION events(
    only_account_id text,
    after_event_id uuid,
    max_rows integer
)
RETURNS SETOF event_lines
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
-- Planned for the ledger's size at hand, as above.
SET plan_cache_mode TO force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
    IF only_account_id IS NULL THEN
        RETURN QUERY
        SELECT l.* FROM event_lines AS l
        WHERE l.event_id > coalesce(after_event_id, '00000000-0000-0000-0000-000000000000')
        ORDER BY l.event_id
        LIMIT max_rows;
    ELSE
        RETURN QUERY
        SELECT l.* FROM event_lines AS l
        WHERE l.account_id = only_account_id
            AND l.seq > coalesce(
                (
                    SELECT e.seq FROM ledger_events AS e
                    WHERE e.event_id <= after_event_id
                    ORDER BY e.event_id DESC
                    LIMIT 1
                ),
                0
            )
        ORDER BY l.seq
        LIMIT max_rows;
    END IF;
END
$$;
COMMENT ON FUNCTION events IS
'Events in ledger order, after a given one, of one account or of all.';

CREATE FUNCTION event(wanted_event_id uuid)
RETURNS SETOF event_lines
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT l.* FROM event_lines AS l WHERE l.event_id = wanted_event_id
$$;
COMMENT ON FUNCTION event IS 'One event by its id.';

CREATE FUNCTION event_at(
    wanted_seq bigint, OUT seq bigint, OUT event_id uuid, OUT hash bytea
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT e.seq, e.event_id, e.hash FROM ledger_events AS e WHERE e.seq = wanted_seq
$$;
COMMENT ON FUNCTION event_at IS
'The event that has this seq: what an anchor kept outside is held against.';
