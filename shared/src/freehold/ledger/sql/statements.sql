-- Statements of an account: what moved its balance in one currency in a period. The period is of
-- business time (transaction_time) or of the ledger's own (recorded_at), its end is not in it, and
-- null is no bound. Every answer is about the ledger as it was at one seq, so that pages of one
-- statement agree. Events that only place or let go of a hold move nothing and are left out.

CREATE OR REPLACE FUNCTION sums_before(
    account_id text, currency text, by_time text, until_time timestamptz, through_seq bigint
)
RETURNS TABLE (in_minor numeric, out_minor numeric, event_count bigint)
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $$
    -- With one row of zeros, the sum of no event is zero.
    SELECT sum(s.in_minor), sum(s.out_minor), sum(s.event_count)::bigint
    FROM (
        SELECT s.in_minor, s.out_minor, s.event_count
        FROM sums_at(
            ARRAY[sums_before.account_id],
            least(
                through_seq,
                CASE by_time
                    WHEN 'recorded_at' THEN seq_known_at(until_time - interval '1 microsecond')
                END
            ),
            CASE
                WHEN by_time = 'recorded_at' OR until_time IS NULL THEN 'infinity'
                ELSE until_time - interval '1 microsecond'
            END
        ) AS s
        WHERE s.currency = sums_before.currency::char(3)
        UNION ALL
        SELECT 0, 0, 0
    ) AS s
$$;
COMMENT ON FUNCTION sums_before IS
'What an account''s events in a currency before a time come to; all for null.';

CREATE OR REPLACE FUNCTION statement_totals(
    account_id text,
    currency text,
    by_time text,
    from_time timestamptz,
    to_time timestamptz,
    through_seq bigint
)
RETURNS TABLE (
    opening_balance_minor numeric,
    total_in_minor numeric,
    total_out_minor numeric,
    closing_balance_minor numeric,
    last_seq bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT o.in_minor - o.out_minor, c.in_minor - o.in_minor, c.out_minor - o.out_minor,
        c.in_minor - c.out_minor, h.last_seq
    FROM (SELECT coalesce(through_seq, h.last_seq) AS last_seq FROM ledger_head AS h) AS h
    CROSS JOIN LATERAL sums_before(
        account_id, currency, by_time, coalesce(from_time, '-infinity'), h.last_seq
    ) AS o
    CROSS JOIN LATERAL sums_before(account_id, currency, by_time, to_time, h.last_seq) AS c
    WHERE c.event_count > 0 OR (
        SELECT a.event_count > 0
        FROM sums_before(account_id, currency, by_time, NULL, h.last_seq) AS a
    )
$$;
COMMENT ON FUNCTION statement_totals IS
'The balances and sums of a statement at a seq, or at the ledger''s end where it is null; no row '
'where the account has no event in the currency.';

CREATE OR REPLACE FUNCTION entries(
    account_id text,
    currency char(3),
    through_seq bigint,
    from_time timestamptz,
    through_time timestamptz
)
RETURNS TABLE (transaction_time timestamptz, seq bigint, amount_minor bigint)
LANGUAGE sql STABLE
SET search_path FROM CURRENT
SET enable_memoize TO off
SET enable_seqscan TO off
SET enable_bitmapscan TO off
SET jit TO off
AS $$
    WITH blocks AS MATERIALIZED (
        SELECT b.block_seq, b.currency,
            width_bucket(from_time - interval '1 microsecond', b.page_times) AS first_page,
            width_bucket(through_time, b.page_times) AS last_page
        FROM account_blocks AS b
        WHERE b.account_id = entries.account_id AND b.block_seq <= through_seq
    )
    SELECT n.transaction_time, n.seq, n.amount_minor
    FROM blocks AS b
    CROSS JOIN LATERAL (
        SELECT p.* FROM block_pages AS p
        WHERE p.block_seq = b.block_seq
            AND p.currency = b.currency
            AND p.page_number BETWEEN b.first_page AND b.last_page
        OFFSET 0
    ) AS p
    CROSS JOIN LATERAL unnest(p.times, p.seqs, p.amounts) AS n (
        transaction_time, seq, amount_minor
    )
    WHERE b.currency = entries.currency AND n.transaction_time BETWEEN from_time AND through_time
    UNION ALL
    SELECT e.transaction_time, e.seq, e.amount_minor FROM ledger_events AS e
    WHERE e.account_id = entries.account_id
        AND e.seq > coalesce((SELECT max(b.block_seq) FROM blocks AS b), 0)
        AND e.seq <= through_seq
        AND e.currency = entries.currency
        AND e.transaction_time BETWEEN from_time AND through_time
$$;
COMMENT ON FUNCTION entries IS
'An account''s events in a currency through a seq that happened from one time through another.';

CREATE OR REPLACE FUNCTION time_of_many(
    account_id text,
    currency char(3),
    through_seq bigint,
    begin_time timestamptz,
    newest_first boolean,
    least_events bigint
)
RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path FROM CURRENT
SET jit TO off
AS $$
    -- Between the times at which two pages of a block begin there is one whole page. So it is enough
    -- to count, of each block, the pages' beginnings on the way, without the first one.
    SELECT CASE
        WHEN newest_first THEN coalesce(max(p.page_time), '-infinity')
        ELSE coalesce(min(p.page_time), 'infinity')
    END
    FROM (
        SELECT p.page_time, sum((p.place > 1)::integer) OVER (ORDER BY p.distance) AS pages
        FROM (
            SELECT t.page_time, d.distance,
                row_number() OVER (PARTITION BY b.block_seq ORDER BY d.distance) AS place
            FROM account_blocks AS b
            CROSS JOIN LATERAL unnest(b.page_times) AS t (page_time)
            CROSS JOIN LATERAL (
                SELECT
                    CASE
                        WHEN newest_first THEN '2000-01-01 00:00:00+00' - t.page_time
                        ELSE t.page_time - '2000-01-01 00:00:00+00'
                    END
            ) AS d (distance)
            WHERE b.account_id = time_of_many.account_id
                AND b.currency = time_of_many.currency
                AND b.block_seq <= through_seq
                AND CASE
                    WHEN newest_first THEN t.page_time < begin_time ELSE t.page_time > begin_time
                END
        ) AS p
    ) AS p
    WHERE p.pages * events_per_page() >= least_events
$$;
COMMENT ON FUNCTION time_of_many IS
'A time until which an account has at least least_events in a currency, from another time on or '
'back; infinite where there are fewer in its blocks.';

CREATE OR REPLACE FUNCTION statement_seqs(
    account_id text,
    currency char(3),
    by_time text,
    from_time timestamptz,
    to_time timestamptz,
    through_seq bigint,
    after_time timestamptz,
    after_seq bigint,
    newest_first boolean,
    max_rows integer
)
RETURNS bigint[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET enable_seqscan TO off
SET enable_bitmapscan TO off
SET jit TO off
AS $$
#variable_conflict use_variable
DECLARE
    before_from CONSTANT timestamptz := from_time - interval '1 microsecond';
    before_to CONSTANT timestamptz := to_time - interval '1 microsecond';
    first_seq bigint;
    last_seq bigint;
    first_time timestamptz := coalesce(from_time, '-infinity');
    last_time timestamptz := coalesce(before_to, 'infinity');
    many_until timestamptz;
    least_events bigint := max_rows;
    seqs bigint [];
BEGIN
    -- What is null is left out by greatest and least.
    IF by_time = 'recorded_at' THEN
        first_seq := CASE WHEN from_time IS NOT NULL THEN seq_known_at(before_from) + 1 END;
        last_seq := least(through_seq, seq_known_at(before_to));
        IF newest_first THEN
            RETURN ARRAY(
                SELECT e.seq FROM ledger_events AS e
                WHERE e.account_id = account_id
                    AND e.seq BETWEEN coalesce(first_seq, 1) AND least(last_seq, after_seq - 1)
                    AND e.currency = currency
                    AND e.amount_minor <> 0
                ORDER BY e.seq DESC
                LIMIT max_rows
            );
        END IF;
        RETURN ARRAY(
            SELECT e.seq FROM ledger_events AS e
            WHERE e.account_id = account_id
                AND e.seq BETWEEN greatest(first_seq, after_seq + 1, 1) AND last_seq
                AND e.currency = currency
                AND e.amount_minor <> 0
            ORDER BY e.seq
            LIMIT max_rows
        );
    END IF;

    LOOP
        IF newest_first THEN
            last_time := least(last_time, after_time);
            many_until := time_of_many(
                account_id, currency, through_seq, last_time, newest_first, least_events
            );
            seqs := ARRAY(
                SELECT e.seq
                FROM entries(
                    account_id, currency, through_seq, greatest(first_time, many_until), last_time
                ) AS e
                WHERE e.amount_minor <> 0
                    AND ((e.transaction_time, e.seq) < (after_time, after_seq)) IS NOT FALSE
                ORDER BY e.transaction_time DESC, e.seq DESC
                LIMIT max_rows
            );
            EXIT WHEN many_until <= first_time;
        ELSE
            first_time := greatest(first_time, after_time);
            many_until := time_of_many(
                account_id, currency, through_seq, first_time, newest_first, least_events
            );
            seqs := ARRAY(
                SELECT e.seq
                FROM entries(
                    account_id, currency, through_seq, first_time, least(many_until, last_time)
                ) AS e
                WHERE e.amount_minor <> 0
                    AND ((e.transaction_time, e.seq) > (after_time, after_seq)) IS NOT FALSE
                ORDER BY e.transaction_time, e.seq
                LIMIT max_rows
            );
            EXIT WHEN many_until >= last_time;
        END IF;
        EXIT WHEN cardinality(seqs) = max_rows;
        -- There were events of holds, or of the same time as the line before.
        least_events := least_events * 8;
    END LOOP;
    RETURN seqs;
END
$$;
COMMENT ON FUNCTION statement_seqs IS 'The events that are lines of a page of a statement.';

CREATE OR REPLACE FUNCTION statement_lines(
    account_id text,
    currency text,
    by_time text,
    from_time timestamptz,
    to_time timestamptz,
    through_seq bigint,
    after_time timestamptz,
    after_seq bigint,
    newest_first boolean,
    max_rows integer
)
RETURNS TABLE (line event_lines, balance_minor numeric)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan TO off
SET enable_bitmapscan TO off
SET jit TO off
AS $$
    WITH lines AS MATERIALIZED (
        SELECT l.line, (l.line).transaction_time, (l.line).seq, (l.line).amount_minor, p.place
        FROM unnest(
            statement_seqs(
                account_id, currency::char(3), by_time, from_time, to_time, through_seq, after_time,
                after_seq, newest_first, max_rows
            )
        ) WITH ORDINALITY AS p (seq, place)
        CROSS JOIN LATERAL (
            SELECT l AS line FROM event_lines AS l
            WHERE l.account_id = statement_lines.account_id AND l.seq = p.seq
            OFFSET 0
        ) AS l
    ),
    first_line AS (
        SELECT l.* FROM lines AS l
        ORDER BY CASE WHEN newest_first THEN -l.place ELSE l.place END
        LIMIT 1
    ),
    opening AS (
        SELECT coalesce(sum(p.amount_minor), 0) AS balance_minor
        FROM first_line AS f
        CROSS JOIN LATERAL (
            SELECT s.in_minor - s.out_minor AS amount_minor
            FROM sums_at(
                ARRAY[account_id],
                CASE by_time WHEN 'recorded_at' THEN f.seq - 1 ELSE through_seq END,
                CASE by_time
                    WHEN 'recorded_at' THEN 'infinity'
                    ELSE f.transaction_time - interval '1 microsecond'
                END
            ) AS s
            WHERE s.currency = statement_lines.currency::char(3)
            UNION ALL
            -- Those of the same time that come before it.
            SELECT e.amount_minor
            FROM entries(
                account_id,
                currency::char(3),
                CASE by_time WHEN 'recorded_at' THEN 0 ELSE f.seq - 1 END,
                f.transaction_time,
                f.transaction_time
            ) AS e
        ) AS p
    )
    SELECT l.line,
        o.balance_minor + sum(l.amount_minor) OVER (
            ORDER BY CASE WHEN newest_first THEN -l.place ELSE l.place END
        )
    FROM lines AS l
    CROSS JOIN opening AS o
    ORDER BY l.place
$$;
COMMENT ON FUNCTION statement_lines IS
'Lines of a statement in order of time and seq, or the newest first, after a given one. Each has '
'the balance after it, whichever way they are listed.';
