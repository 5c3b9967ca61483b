-- Limits are judged when all holds that are due have been settled, and not only the first thousand.

CREATE OR REPLACE FUNCTION settle_expired_holds(
    instant timestamptz, holds_max integer DEFAULT 1000
) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    with_account_limits CONSTANT boolean := (
        SELECT s.with_account_limits FROM ledger_settings AS s
    );
    -- An append that took as long as a statement may would be undone, and so would every next one.
    stop_at CONSTANT timestamptz := clock_timestamp() + interval '1 second';
    due text [];
    found integer;
    next_expiry timestamptz;
BEGIN
    LOOP
        due := ARRAY(
            SELECT h.hold_id::text FROM holds AS h
            WHERE h.settled_event_id IS NULL AND h.expires_at <= instant
            ORDER BY h.expires_at
            LIMIT holds_max
        );
        found := cardinality(due);
        next_expiry := (
            SELECT h.expires_at FROM holds AS h
            WHERE h.settled_event_id IS NULL AND h.expires_at IS NOT NULL
            ORDER BY h.expires_at
            OFFSET found LIMIT 1
        );
        IF found > 0 THEN
            -- This append must not come here again, which it would while something is due.
            UPDATE ledger_settings SET next_hold_expiry = NULL;
            PERFORM append(
                array_fill(NULL::text, ARRAY[found]),
                array_fill(NULL::text, ARRAY[found]),
                NULL,
                ARRAY(SELECT n::text FROM generate_series(1, found) AS n),
                NULL, NULL,
                array_fill('HOLD_EXPIRY'::text, ARRAY[found]),
                array_fill('0'::text, ARRAY[found]),
                NULL, NULL, NULL,
                array_fill('{}'::text, ARRAY[found]),
                due,
                NULL, NULL
            );
        END IF;
        -- Only a limit asks what other holds than the request's own still hold.
        EXIT WHEN NOT with_account_limits
            OR (next_expiry <= instant) IS NOT TRUE
            OR clock_timestamp() >= stop_at;
    END LOOP;
    -- Those that are left are due already, and so the next call's.
    UPDATE ledger_settings SET next_hold_expiry = next_expiry;
END
$$;
COMMENT ON FUNCTION settle_expired_holds IS
'Appends the events that settle holds which have expired: at most so many at once, and so many in '
'all where no account has a limit.';
