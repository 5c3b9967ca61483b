-- Idempotency keys: what became of each key's request, until the key expires.

CREATE OR REPLACE FUNCTION known_requests(asked addition[], clock timestamptz) RETURNS answer[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN ARRAY(
        SELECT (
            a.request, NULL,
            CASE WHEN k.fingerprint = a.fingerprint THEN 'replayed' ELSE 'key_reused' END,
            NULL, NULL, NULL,
            CASE WHEN k.fingerprint = a.fingerprint THEN k.first_event_id END,
            k.last_event_id, NULL
        )::answer
        FROM unnest(asked) AS a
        CROSS JOIN LATERAL (
            SELECT * FROM idempotency_keys AS k
            WHERE k.idempotency_key = a.key
            OFFSET 0
        ) AS k
        WHERE k.expires_at > clock
    );
END
$$;
COMMENT ON FUNCTION known_requests IS 'Answers requests whose keys have been used and not expired.';

CREATE OR REPLACE FUNCTION forget_expired_keys(keys_max integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan TO off
AS $$
DECLARE
    -- A constant: the clock, read anew for each row, would keep the planner from the index.
    instant CONSTANT timestamptz := ledger_now();
    forgotten integer;
BEGIN
    -- Without the writer lock. A key that an append is writing anew is locked, and skipped.
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
'Removes at most keys_max expired idempotency keys; returns how many it removed.';
