-- Holds: append records them, and settles those that have expired.

CREATE OR REPLACE FUNCTION write_holds(asked addition[], new_ids uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    first_expiry timestamptz;
BEGIN
    -- As an insert, so that a settled hold is found by the primary key whatever the planner thinks.
    INSERT INTO holds (hold_id, expires_at, settled_event_id)
    SELECT coalesce(a.hold_id, new_ids[a.ordinality]), a.hold_expires_at,
        CASE WHEN a.hold_id IS NOT NULL THEN new_ids[a.ordinality] END
    FROM unnest(asked) WITH ORDINALITY AS a
    WHERE a.held_minor IS NOT NULL
    ON CONFLICT ON CONSTRAINT holds_pkey DO UPDATE
    SET settled_event_id = excluded.settled_event_id;

    first_expiry := (SELECT min(a.hold_expires_at) FROM unnest(asked) AS a);
    UPDATE ledger_settings AS s SET next_hold_expiry = first_expiry
    WHERE first_expiry < coalesce(s.next_hold_expiry, 'infinity');
END
$$;

CREATE OR REPLACE FUNCTION settle_expired_holds(
    settings ledger_settings, clock timestamptz, instant timestamptz
) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    holds_max CONSTANT integer := 1000;
    -- An append that took as long as a statement may would be undone, and so would every next one.
    stop_at CONSTANT timestamptz := clock_timestamp() + interval '1 second';
    has traits;
    due addition [];
    ended addition [];
    next_expiry timestamptz;
BEGIN
    has.originals := true;
    has.own_types := true;
    LOOP
        due := ARRAY(
            SELECT json_populate_record(
                NULL::addition,
                json_build_object(
                    'request', h.index, 'index', h.index, 'event_type', 'HOLD_EXPIRY',
                    'amount_minor', 0, 'metadata', json_object('{}'), 'hold_id', h.hold_id
                )
            )
            FROM (
                SELECT hold_id, row_number() OVER (ORDER BY expires_at) AS index
                FROM holds
                WHERE settled_event_id IS NULL AND expires_at <= clock
                ORDER BY expires_at
                LIMIT holds_max
            ) AS h
        );
        next_expiry := (
            SELECT h.expires_at FROM holds AS h
            WHERE h.settled_event_id IS NULL AND h.expires_at IS NOT NULL
            ORDER BY h.expires_at
            OFFSET cardinality(due) LIMIT 1
        );
        -- A row of holds that is no event's settles nothing; verify reports it.
        ended := ARRAY(
            SELECT a FROM unnest(completed(due, clock)) AS a
            WHERE a.account_id IS NOT NULL
        );
        IF ended <> '{}' THEN
            PERFORM write_additions(ended, has, h, clock, instant, settings.idempotency_retention)
            FROM ledger_head AS h;
        END IF;
        -- Only a limit asks what other holds than the request's own still hold.
        EXIT WHEN NOT settings.with_account_limits
            OR (next_expiry <= clock) IS NOT TRUE
            OR clock_timestamp() >= stop_at;
    END LOOP;
    -- Those that are left are due already, and so the next call's.
    UPDATE ledger_settings SET next_hold_expiry = next_expiry;
END
$$;
COMMENT ON FUNCTION settle_expired_holds IS
'Appends the events that settle expired holds: at most 1,000, or all where a limit applies.';

CREATE OR REPLACE FUNCTION expire_holds(
    OUT last_seq bigint, OUT next_hold_expiry timestamptz
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    SELECT a.last_seq INTO expire_holds.last_seq
    FROM append('[]') AS a;
    SELECT s.next_hold_expiry INTO expire_holds.next_hold_expiry FROM ledger_settings AS s;
END
$$;
COMMENT ON FUNCTION expire_holds IS
'Settles holds that have expired; says where the ledger ends and when to come again.';
