-- What is done in a ledger beside appending: holds are noted and expire by themselves, and keys
-- that have expired are forgotten.

ALTER TABLE ledger_events VALIDATE CONSTRAINT ledger_events_sound;

CREATE INDEX idempotency_keys_expiry_idx ON idempotency_keys (expires_at);

CREATE FUNCTION note_holds(event_ids uuid[], hold_ids text[], hold_expiries text[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    first_expiry timestamptz;
BEGIN
    -- As an insert, so that a settled hold is found by the primary key whatever the planner thinks.
    INSERT INTO holds (hold_id, expires_at, settled_event_id)
    SELECT a.hold::uuid, a.hold_expiry::timestamptz, nullif(a.event_id, a.hold::uuid)
    FROM unnest(event_ids, hold_ids, hold_expiries) AS a (event_id, hold, hold_expiry)
    WHERE a.hold IS NOT NULL
    ON CONFLICT ON CONSTRAINT holds_pkey DO UPDATE
    SET settled_event_id = excluded.settled_event_id;

    SELECT min(a.hold_expiry::timestamptz) INTO first_expiry
    FROM unnest(hold_expiries) AS a (hold_expiry);
    UPDATE ledger_settings AS s SET next_hold_expiry = first_expiry
    WHERE first_expiry < coalesce(s.next_hold_expiry, 'infinity');
END
$$;
COMMENT ON FUNCTION note_holds IS 'Notes the holds that append has placed and settled.';

CREATE FUNCTION settle_expired_holds(instant timestamptz, holds_max integer DEFAULT 1000)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    due CONSTANT text [] := ARRAY(
        SELECT h.hold_id::text FROM holds AS h
        WHERE h.settled_event_id IS NULL AND h.expires_at <= instant
        ORDER BY h.expires_at
        LIMIT holds_max
    );
    found CONSTANT integer := cardinality(due);
    next_expiry CONSTANT timestamptz := (
        SELECT h.expires_at FROM holds AS h
        WHERE h.settled_event_id IS NULL AND h.expires_at IS NOT NULL
        ORDER BY h.expires_at
        OFFSET found LIMIT 1
    );
BEGIN
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
    -- Those beyond holds_max are due already, and so the next call's.
    UPDATE ledger_settings SET next_hold_expiry = next_expiry;
END
$$;
COMMENT ON FUNCTION settle_expired_holds IS
'Appends the events that settle holds which have expired, at most so many.';

CREATE FUNCTION expire_holds(
    OUT last_seq bigint, OUT next_hold_expiry timestamptz
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    SELECT a.last_seq INTO expire_holds.last_seq
    FROM append(
        '{}', '{}', NULL, '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    ) AS a;
    SELECT s.next_hold_expiry INTO expire_holds.next_hold_expiry FROM ledger_settings AS s;
END
$$;
COMMENT ON FUNCTION expire_holds IS
'Settles holds that have expired; says where the ledger ends and when to come again.';

CREATE FUNCTION forget_expired_keys(keys_max integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan TO off
AS $$
DECLARE
    -- The clock itself, asked anew for each row, would keep the index out of it.
    instant CONSTANT timestamptz := clock_timestamp();
    forgotten integer;
BEGIN
    -- Without the writer lock, and leaving alone what an append is writing anew.
    DELETE FROM idempotency_keys AS k
    WHERE k.idempotency_key = ANY (
        ARRAY(
            SELECT e.idempotency_key FROM idempotency_keys AS e
            WHERE e.expires_at <= instant
            ORDER BY e.expires_at
            LIMIT keys_max
            FOR UPDATE SKIP LOCKED
        )
    );
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
END
$$;
COMMENT ON FUNCTION forget_expired_keys IS
'Removes at most so many expired idempotency keys; returns how many there were.';
