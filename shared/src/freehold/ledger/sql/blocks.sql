-- Blocks and pages: an account's events, cut and sorted so that a few rows say what the account had
-- at any point in time. Only whole blocks are made, so they never change.
--
-- The two sizes were measured. A larger block leaves more events to be read from the ledger itself,
-- a smaller one more pages to be looked up. Four pages of 72 events, of 24 bytes each, fill one of
-- Postgres's.

CREATE OR REPLACE FUNCTION events_per_block() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT 4096
$$;

CREATE OR REPLACE FUNCTION events_per_page() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT 72
$$;

CREATE OR REPLACE FUNCTION pages_after(account_id text, after_seq bigint)
RETURNS SETOF block_pages
LANGUAGE sql STABLE
SET search_path FROM CURRENT
-- The events by (account_id, seq), whatever the planner knows of the table.
SET enable_seqscan TO off
SET enable_bitmapscan TO off
SET jit TO off
AS $$
    WITH pages AS (
        SELECT e.currency, e.place / events_per_page() AS page,
            coalesce(sum(e.amount_minor) FILTER (WHERE e.amount_minor > 0), 0) AS in_minor,
            coalesce(-sum(e.amount_minor) FILTER (WHERE e.amount_minor < 0), 0) AS out_minor,
            count(*) AS event_count,
            max(e.seq) AS last_seq,
            array_agg(e.transaction_time ORDER BY e.place) AS times,
            array_agg(e.seq ORDER BY e.place) AS seqs,
            array_agg(e.amount_minor ORDER BY e.place) AS amounts
        FROM (
            SELECT e.*,
                row_number() OVER (
                    PARTITION BY e.currency ORDER BY e.transaction_time, e.seq
                ) - 1 AS place
            FROM (
                SELECT e.currency, e.transaction_time, e.seq, e.amount_minor
                FROM ledger_events AS e
                WHERE e.account_id = pages_after.account_id AND e.seq > pages_after.after_seq
                ORDER BY e.seq
                LIMIT events_per_block()
            ) AS e
        ) AS e
        GROUP BY e.currency, e.place / events_per_page()
    )
    SELECT max(p.last_seq) OVER (), p.currency, p.page::integer + 1,
        coalesce(sum(p.in_minor) OVER pages_before, 0),
        coalesce(sum(p.out_minor) OVER pages_before, 0),
        coalesce(sum(p.event_count) OVER pages_before, 0)::bigint,
        coalesce(max(p.last_seq) OVER pages_before, 0),
        p.times, p.seqs, p.amounts
    FROM pages AS p
    WINDOW pages_before AS (
        PARTITION BY p.currency ORDER BY p.page
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
$$;
COMMENT ON FUNCTION pages_after IS
'The pages of the block that an account''s events after a seq make.';

CREATE OR REPLACE FUNCTION seal_blocks(account_ids text[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    account record;
BEGIN
    FOR account IN
        SELECT b.account_id, b.event_count / events_per_block() - s.blocks AS blocks_to_seal, s.last_block_seq
        FROM (
            SELECT b.account_id, sum(b.event_count)::bigint AS event_count
            FROM account_balances AS b
            WHERE b.account_id = ANY (account_ids)
            GROUP BY b.account_id
            HAVING sum(b.event_count) >= events_per_block()
        ) AS b
        CROSS JOIN LATERAL (
            SELECT count(DISTINCT s.block_seq) AS blocks,
                coalesce(max(s.block_seq), 0) AS last_block_seq
            FROM account_blocks AS s
            WHERE s.account_id = b.account_id
        ) AS s
    LOOP
        FOR _ IN 1..account.blocks_to_seal LOOP
            WITH pages AS (
                INSERT INTO block_pages
                SELECT * FROM pages_after(account.account_id, account.last_block_seq)
                RETURNING *
            ),
            sealed AS (
                INSERT INTO account_blocks (account_id, block_seq, currency, page_times)
                SELECT account.account_id, p.block_seq, p.currency,
                    array_agg(p.times[1] ORDER BY p.page_number)
                FROM pages AS p
                GROUP BY p.block_seq, p.currency
            )
            SELECT p.block_seq INTO account.last_block_seq FROM pages AS p LIMIT 1;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION seal_blocks IS
'Makes the blocks of accounts'' projected events that are whole and not made yet.';

CREATE OR REPLACE FUNCTION differing_blocks() RETURNS TABLE (account_id text, currency char(3))
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $$
    WITH blocks AS (
        SELECT b.account_id, b.block_seq,
            lag(b.block_seq, 1, 0::bigint) OVER (
                PARTITION BY b.account_id ORDER BY b.block_seq
            ) AS after_seq
        FROM account_blocks AS b
        GROUP BY b.account_id, b.block_seq
    )
    SELECT b.account_id, d.currency
    FROM blocks AS b
    CROSS JOIN LATERAL (
        SELECT coalesce(kept.currency, made.currency) AS currency
        FROM (
            SELECT s.currency, t.first_time, t.page_number, p AS page
            FROM account_blocks AS s
            CROSS JOIN unnest(s.page_times) WITH ORDINALITY AS t (first_time, page_number)
            LEFT JOIN block_pages AS p
                ON p.block_seq = s.block_seq
                AND p.currency = s.currency
                AND p.page_number = t.page_number
            WHERE s.account_id = b.account_id AND s.block_seq = b.block_seq
        ) AS kept
        FULL JOIN pages_after(b.account_id, b.after_seq) AS made
            ON made.currency = kept.currency AND made.page_number = kept.page_number
        WHERE kept.first_time IS DISTINCT FROM made.times[1]
            OR kept.page IS DISTINCT FROM made
    ) AS d
    UNION
    -- Pages of no block. Only who reads the whole table finds these.
    SELECT e.account_id, p.currency
    FROM block_pages AS p
    LEFT JOIN account_blocks AS b ON b.block_seq = p.block_seq AND b.currency = p.currency
    LEFT JOIN ledger_events AS e ON e.seq = p.block_seq
    WHERE b.block_seq IS NULL
$$;
COMMENT ON FUNCTION differing_blocks IS
'The accounts and currencies of which a block differs from the ledger.';
