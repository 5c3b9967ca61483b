-- What an account had at many times, for a curve of its balance. Between two of the times, most
-- pages of a block lie whole: their sums are known from the pages beside them. Only a page in which
-- one of the times falls is read, and a block's last one.

CREATE OR REPLACE FUNCTION balances_over_time(
    account_id text, currency text, times timestamptz[], known_at timestamptz
)
RETURNS TABLE (instant timestamptz, balance_minor numeric)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
-- Each page is read once, by its key.
SET enable_memoize TO off
SET enable_seqscan TO off
SET enable_bitmapscan TO off
SET jit TO off
AS $$
    WITH blocks AS MATERIALIZED (
        SELECT b.block_seq, b.currency, b.page_times FROM account_blocks AS b
        WHERE b.account_id = balances_over_time.account_id
            AND b.block_seq <= seq_known_at(balances_over_time.known_at)
    ),
    pages AS MATERIALIZED (
        SELECT s.block_seq, s.page_number, s.place, p.times, p.amounts,
            p.in_before - p.out_before AS before_minor,
            p.in_before - p.out_before + (SELECT sum(a) FROM unnest(p.amounts) AS a) AS after_minor
        FROM (
            SELECT b.block_seq, t.page_number, t.place,
                lead(t.place) OVER (
                    PARTITION BY b.block_seq ORDER BY t.page_number
                ) AS next_place
            FROM blocks AS b
            CROSS JOIN LATERAL (
                -- The first of the times at which the page's first event counts.
                SELECT t.page_number,
                    width_bucket(
                        t.page_time - interval '1 microsecond', balances_over_time.times
                    ) + 1 AS place
                FROM unnest(b.page_times) WITH ORDINALITY AS t (page_time, page_number)
            ) AS t
            WHERE b.currency = balances_over_time.currency::char(3)
        ) AS s
        CROSS JOIN LATERAL (
            SELECT p.* FROM block_pages AS p
            WHERE p.block_seq = s.block_seq
                AND p.currency = balances_over_time.currency::char(3)
                AND p.page_number = s.page_number
            OFFSET 0
        ) AS p
        WHERE s.place IS DISTINCT FROM s.next_place
    ),
    changes AS (
        SELECT width_bucket(
            n.transaction_time - interval '1 microsecond', balances_over_time.times
        ) + 1 AS place, n.amount_minor::numeric AS amount_minor
        FROM pages AS p
        CROSS JOIN LATERAL unnest(p.times, p.amounts) AS n (transaction_time, amount_minor)
        UNION ALL
        -- The whole pages since the page that was read before.
        SELECT p.place,
            p.before_minor - lag(p.after_minor, 1, 0::numeric) OVER (
                PARTITION BY p.block_seq ORDER BY p.page_number
            )
        FROM pages AS p
        UNION ALL
        -- What is in no block.
        SELECT width_bucket(
            e.transaction_time - interval '1 microsecond', balances_over_time.times
        ) + 1, e.amount_minor
        FROM ledger_events AS e
        WHERE e.account_id = balances_over_time.account_id
            AND e.seq > coalesce((SELECT max(b.block_seq) FROM blocks AS b), 0)
            AND e.seq <= seq_known_at(balances_over_time.known_at)
            AND e.currency = balances_over_time.currency::char(3)
    )
    SELECT t.instant, sum(coalesce(c.amount_minor, 0)) OVER (ORDER BY t.place)
    FROM unnest(balances_over_time.times) WITH ORDINALITY AS t (instant, place)
    LEFT JOIN (
        SELECT c.place, sum(c.amount_minor) AS amount_minor FROM changes AS c GROUP BY c.place
    ) AS c ON c.place = t.place
    ORDER BY t.place
$$;
COMMENT ON FUNCTION balances_over_time IS
'What an account had in a currency at each of some rising times, that microsecond included: of the '
'events that the ledger knew at another time; all for null.';

CREATE OR REPLACE FUNCTION account_span(
    account_id text, OUT first_time timestamptz, OUT last_time timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_memoize TO off
SET enable_seqscan TO off
SET enable_bitmapscan TO off
SET jit TO off
AS $$
    WITH blocks AS MATERIALIZED (
        SELECT b.block_seq, b.currency, b.page_times FROM account_blocks AS b
        WHERE b.account_id = account_span.account_id
    )
    SELECT min(s.first_time), max(s.last_time)
    FROM (
        SELECT b.page_times[1] AS first_time, p.last_time
        FROM blocks AS b
        CROSS JOIN LATERAL (
            SELECT p.times[cardinality(p.times)] AS last_time FROM block_pages AS p
            WHERE p.block_seq = b.block_seq
                AND p.currency = b.currency
                AND p.page_number = cardinality(b.page_times)
            OFFSET 0
        ) AS p
        UNION ALL
        SELECT min(e.transaction_time), max(e.transaction_time) FROM ledger_events AS e
        WHERE e.account_id = account_span.account_id
            AND e.seq > coalesce((SELECT max(b.block_seq) FROM blocks AS b), 0)
    ) AS s
$$;
COMMENT ON FUNCTION account_span IS
'The first and the last transaction_time of an account''s events; nulls where it has none.';
