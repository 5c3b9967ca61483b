-- What accounts had at any point in time, in both times: transaction_time, when something happened,
-- and recorded_at, since when the ledger has known it. recorded_at never falls from one seq to the
-- next, so what was known at a time is all events through a seq.

CREATE OR REPLACE FUNCTION seq_known_at(known_at timestamptz) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    -- An id begins with the millisecond of recorded_at, and sorts as seq does.
    SELECT CASE WHEN known_at IS NULL THEN 9223372036854775807 ELSE coalesce(
        (
            SELECT e.seq FROM ledger_events AS e
            WHERE e.event_id < uuid_floor(
                greatest(known_at, '1970-01-01 00:00:00+00') + interval '1 millisecond'
            )
                AND e.recorded_at <= known_at
            ORDER BY e.event_id DESC
            LIMIT 1
        ),
        0
    ) END
$$;
COMMENT ON FUNCTION seq_known_at IS
'The last seq that the ledger had at a time, that microsecond included; all for null.';

CREATE OR REPLACE FUNCTION sums_at(
    account_ids text[], through_seq bigint, through_time timestamptz
)
RETURNS TABLE (
    account_id text,
    currency char(3),
    in_minor numeric,
    out_minor numeric,
    event_count bigint,
    last_seq bigint
)
LANGUAGE sql STABLE
SET search_path FROM CURRENT
-- Each page is read once, by its key.
SET enable_memoize TO off
SET enable_seqscan TO off
SET enable_bitmapscan TO off
SET jit TO off
AS $$
    WITH blocks AS MATERIALIZED (
        SELECT b.account_id, b.block_seq, b.currency,
            width_bucket(through_time, b.page_times) AS page_number
        FROM account_blocks AS b
        WHERE b.account_id = ANY (account_ids) AND b.block_seq <= through_seq
    ),
    parts AS (
        -- Of each block, the pages before the time, and the page that it is on.
        SELECT b.account_id, b.currency, p.in_before + n.in_minor AS in_minor,
            p.out_before + n.out_minor AS out_minor, p.count_before + n.event_count AS event_count,
            greatest(p.last_seq_before, n.last_seq) AS last_seq
        FROM blocks AS b
        CROSS JOIN LATERAL (
            SELECT p.* FROM block_pages AS p
            WHERE p.block_seq = b.block_seq
                AND p.currency = b.currency
                AND p.page_number = b.page_number
            OFFSET 0
        ) AS p
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(n.amount_minor) FILTER (WHERE n.amount_minor > 0), 0) AS in_minor,
                coalesce(-sum(n.amount_minor) FILTER (WHERE n.amount_minor < 0), 0) AS out_minor,
                count(*) AS event_count,
                max(n.seq) AS last_seq
            FROM unnest(p.times, p.seqs, p.amounts) AS n (transaction_time, seq, amount_minor)
            WHERE n.transaction_time <= through_time
        ) AS n
        UNION ALL
        -- What is in no block.
        SELECT e.account_id, e.currency, greatest(e.amount_minor, 0), -least(e.amount_minor, 0), 1,
            e.seq
        FROM (
            SELECT a.account_id, coalesce(max(b.block_seq), 0) AS block_seq
            FROM unnest(account_ids) AS a (account_id)
            LEFT JOIN blocks AS b ON b.account_id = a.account_id
            GROUP BY a.account_id
        ) AS a
        CROSS JOIN LATERAL (
            SELECT e.account_id, e.currency, e.amount_minor::numeric, e.seq FROM ledger_events AS e
            WHERE e.account_id = a.account_id
                AND e.seq > a.block_seq
                AND e.seq <= through_seq
                AND e.transaction_time <= through_time
            OFFSET 0
        ) AS e
    )
    SELECT p.account_id, p.currency, sum(p.in_minor), sum(p.out_minor), sum(p.event_count)::bigint,
        max(p.last_seq)
    FROM parts AS p
    GROUP BY p.account_id, p.currency
$$;
COMMENT ON FUNCTION sums_at IS
'What some accounts'' events through a seq come to that happened at a time or before.';

CREATE OR REPLACE FUNCTION currencies_of(account_ids text[])
RETURNS TABLE (account_id text, currency char(3))
LANGUAGE sql STABLE
SET search_path FROM CURRENT
SET enable_seqscan TO off
SET enable_bitmapscan TO off
SET jit TO off
AS $$
    SELECT b.account_id, b.currency FROM account_balances AS b
    WHERE b.account_id = ANY (account_ids)
    UNION
    SELECT e.account_id, e.currency FROM ledger_events AS e
    WHERE e.account_id = ANY (account_ids)
        AND e.seq > (SELECT c.last_seq FROM projection_checkpoint AS c)
$$;
COMMENT ON FUNCTION currencies_of IS
'The currencies that some accounts have ever had, whether projected or not.';

CREATE OR REPLACE FUNCTION balances_at(
    account_ids text[], as_of timestamptz, known_at timestamptz
)
RETURNS TABLE (
    account_id text,
    currency text,
    current_balance_minor numeric,
    event_count bigint,
    last_ledger_event_id uuid,
    last_seq bigint,
    last_updated_time timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan TO off
SET enable_bitmapscan TO off
SET jit TO off
AS $$
    SELECT c.account_id, c.currency::text, coalesce(s.in_minor - s.out_minor, 0),
        coalesce(s.event_count, 0), e.event_id, coalesce(s.last_seq, 0), e.recorded_at
    FROM currencies_of(account_ids) AS c
    LEFT JOIN sums_at(
        account_ids, seq_known_at(balances_at.known_at), coalesce(balances_at.as_of, 'infinity')
    ) AS s
        ON s.account_id = c.account_id AND s.currency = c.currency
    LEFT JOIN LATERAL (
        SELECT e.event_id, e.recorded_at FROM ledger_events AS e
        WHERE e.account_id = c.account_id AND e.seq = s.last_seq
        OFFSET 0
    ) AS e ON true
    ORDER BY c.account_id, c.currency
$$;
COMMENT ON FUNCTION balances_at IS
'What some accounts had: of the events that the ledger knew at one time, those that happened at '
'another or before. Null for either: no such bound. Includes every committed event.';

CREATE OR REPLACE FUNCTION accounts_from(
    account_prefix text, from_account_id text, max_accounts bigint
)
RETURNS text[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
-- Planned for the prefix at hand, as for list_balances.
SET plan_cache_mode TO force_custom_plan
SET enable_seqscan TO off
SET enable_bitmapscan TO off
SET jit TO off
AS $$
#variable_conflict use_column
BEGIN
    RETURN ARRAY(
        SELECT a.account_id
        FROM (
            (
                SELECT DISTINCT b.account_id FROM account_balances AS b
                WHERE b.account_id >= from_account_id
                    AND starts_with(b.account_id, accounts_from.account_prefix)
                ORDER BY b.account_id
                LIMIT max_accounts
            )
            UNION
            SELECT e.account_id
            FROM (
                -- What is not projected yet, by event_id: there is little of it.
                SELECT e.account_id FROM ledger_events AS e
                WHERE e.event_id > (SELECT c.last_ledger_event_id FROM projection_checkpoint AS c)
                OFFSET 0
            ) AS e
            WHERE e.account_id >= from_account_id
                AND starts_with(e.account_id, accounts_from.account_prefix)
        ) AS a
        ORDER BY a.account_id
        LIMIT max_accounts
    );
END
$$;
COMMENT ON FUNCTION accounts_from IS
'The first accounts with a prefix from a given one on, whether projected or not. Null: all.';

CREATE OR REPLACE FUNCTION list_balances_at(
    account_prefix text,
    only_currency text,
    min_balance numeric,
    max_balance numeric,
    after_account_id text,
    after_currency text,
    max_rows integer,
    as_of timestamptz,
    known_at timestamptz
)
RETURNS TABLE (
    account_id text,
    currency text,
    current_balance_minor numeric,
    event_count bigint,
    last_ledger_event_id uuid,
    last_seq bigint,
    last_updated_time timestamptz,
    fits boolean
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
#variable_conflict use_variable
DECLARE
    -- A balance of an account with very many events takes milliseconds. So this looks at the time
    -- after accounts_max accounts, and stops well before a caller's deadline.
    accounts_max CONSTANT integer := 100;
    stop_at CONSTANT timestamptz := clock_timestamp() + interval '1 second';
    prefix CONSTANT text := coalesce(account_prefix, '');
    account_ids text [] := accounts_from(prefix, coalesce(after_account_id, ''), accounts_max + 1);
    rows_left integer := max_rows;
BEGIN
    LOOP
        FOR account_id, currency, current_balance_minor, event_count, last_ledger_event_id,
            last_seq, last_updated_time
        IN SELECT * FROM balances_at(account_ids[:accounts_max], as_of, known_at) LOOP
            fits := (account_id, currency)
                > (coalesce(after_account_id, ''), coalesce(after_currency, ''))
                AND currency = coalesce(only_currency, currency)
                AND current_balance_minor >= coalesce(min_balance, current_balance_minor)
                AND current_balance_minor <= coalesce(max_balance, current_balance_minor);
            IF fits THEN
                RETURN NEXT;
                rows_left := rows_left - 1;
                EXIT WHEN rows_left = 0;
            END IF;
        END LOOP;
        EXIT WHEN rows_left = 0 OR cardinality(account_ids) <= accounts_max;
        IF clock_timestamp() > stop_at THEN
            fits := false;
            RETURN NEXT;
            EXIT;
        END IF;
        account_ids := accounts_from(prefix, account_ids[accounts_max + 1], accounts_max + 1);
    END LOOP;
END
$$;
COMMENT ON FUNCTION list_balances_at IS
'balances_at in order of account and currency, after a given one, filtered. Where it stops early, '
'the last row is the last one that it has looked at, and does not fit.';

CREATE OR REPLACE FUNCTION totals(
    account_prefix text, only_currency text, as_of timestamptz, known_at timestamptz
)
RETURNS TABLE (
    currency text, balance_minor numeric, account_count bigint, event_count bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
SET plan_cache_mode TO force_custom_plan
SET jit TO off
-- A row for each account is kept in memory: about 200 bytes.
SET work_mem TO '64MB'
AS $$
#variable_conflict use_column
DECLARE
    prefix CONSTANT text := coalesce(totals.account_prefix, '');
    account_ids text [];
    events_to_look_up bigint;
    through_seq bigint;
    through_time timestamptz;
BEGIN
    IF totals.as_of IS NULL AND totals.known_at IS NULL THEN
        RETURN QUERY
        SELECT b.currency::text, sum(b.current_balance_minor), count(*), sum(b.event_count)::bigint
        FROM account_balances AS b
        WHERE (prefix = '' OR starts_with(b.account_id, prefix))
            AND (only_currency IS NULL OR b.currency = only_currency::char(3))
        GROUP BY b.currency
        ORDER BY b.currency;
        RETURN;
    END IF;

    through_seq := seq_known_at(totals.known_at);
    through_time := coalesce(totals.as_of, 'infinity');
    SELECT
        coalesce(sum(b.event_count), 0)
        - (
            SELECT count(DISTINCT s.block_seq) * events_per_block() FROM account_blocks AS s
            WHERE prefix = '' OR starts_with(s.account_id, prefix)
        )
    INTO events_to_look_up
    FROM account_balances AS b
    WHERE prefix = '' OR starts_with(b.account_id, prefix);
    -- To look an event up costs about three times what one costs that is read in passing.
    IF events_to_look_up * 3 > (SELECT h.last_seq FROM ledger_head AS h) THEN
        RETURN QUERY
        SELECT e.currency::text, coalesce(sum(e.amount_minor), 0),
            count(*) FILTER (WHERE e.event_count > 0), coalesce(sum(e.event_count), 0)::bigint
        FROM (
            SELECT e.currency,
                sum(e.amount_minor) FILTER (
                    WHERE e.seq <= through_seq AND e.transaction_time <= through_time
                ) AS amount_minor,
                count(*) FILTER (
                    WHERE e.seq <= through_seq AND e.transaction_time <= through_time
                ) AS event_count
            FROM ledger_events AS e
            WHERE (prefix = '' OR starts_with(e.account_id, prefix))
                AND (only_currency IS NULL OR e.currency = only_currency::char(3))
            GROUP BY e.account_id, e.currency
        ) AS e
        GROUP BY e.currency
        ORDER BY e.currency;
    ELSE
        account_ids := accounts_from(prefix, '', NULL);
        RETURN QUERY
        SELECT c.currency::text, coalesce(sum(s.in_minor - s.out_minor), 0), count(s.currency),
            coalesce(sum(s.event_count), 0)::bigint
        FROM currencies_of(account_ids) AS c
        LEFT JOIN sums_at(account_ids, through_seq, through_time) AS s
            ON s.account_id = c.account_id AND s.currency = c.currency
        WHERE only_currency IS NULL OR c.currency = only_currency::char(3)
        GROUP BY c.currency
        ORDER BY c.currency;
    END IF;
END
$$;
COMMENT ON FUNCTION totals IS
'What all accounts with a prefix have together in each currency: as projected, or at a point in '
'time, counting the accounts that had an event by then.';
