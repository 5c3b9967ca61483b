-- Account limits: no request takes an account's available balance below its limit.

CREATE OR REPLACE FUNCTION short_accounts(asked addition[]) RETURNS shortage[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN ARRAY(
        SELECT (s.account_id, s.currency, NULL, s.room)::shortage
        FROM (
            SELECT
                c.*,
                -- State and tail are read in one snapshot and meet exactly at the checkpoint.
                coalesce(b.current_balance_minor - b.held_minor, 0) + coalesce(t.change, 0)
                - l.min_balance_minor AS room
            FROM (
                SELECT
                    a.account_id,
                    a.currency,
                    sum(least(a.amount_minor - coalesce(a.held_minor, 0)::numeric, 0)) AS taken
                FROM unnest(asked) AS a
                GROUP BY a.account_id, a.currency
            ) AS c
            CROSS JOIN LATERAL (
                SELECT * FROM account_limits AS l
                WHERE l.account_id = c.account_id AND l.currency = c.currency
                OFFSET 0
            ) AS l
            LEFT JOIN LATERAL (
                SELECT * FROM account_balances AS b
                WHERE b.account_id = c.account_id AND b.currency = c.currency
                OFFSET 0
            ) AS b ON true
            CROSS JOIN LATERAL (
                SELECT sum(e.amount_minor - coalesce(e.held_minor, 0)) AS change
                FROM ledger_events AS e
                WHERE e.account_id = c.account_id
                    AND e.seq > (SELECT p.last_seq FROM projection_checkpoint AS p)
                    AND e.currency = c.currency
                OFFSET 0
            ) AS t
            WHERE c.taken < 0
        ) AS s
        WHERE s.room + s.taken < 0
    );
END
$$;
COMMENT ON FUNCTION short_accounts IS
'The accounts that a call takes below their limits, unless it adds to them or is refused in part.';
