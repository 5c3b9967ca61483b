-- Holds: amounts set aside on an account. A hold lowers what is available and leaves the posted
-- balance alone. Its life is two events: the one that places it (HOLD), and the one that settles it
-- (HOLD_CAPTURE, HOLD_RELEASE or HOLD_EXPIRY).

ALTER TABLE ledger_events
ADD COLUMN hold_id uuid,
ADD COLUMN held_minor bigint,
ADD COLUMN hold_expires_at timestamptz,
DROP CONSTRAINT ledger_events_sound,
-- What is there already is looked at later, by a migration that appends need not wait for.
ADD CONSTRAINT ledger_events_sound
CHECK (seq > 0 AND (amount_minor <> 0 OR coalesce(held_minor, 0) <> 0)) NOT VALID;
COMMENT ON COLUMN ledger_events.transaction_id IS
'The first leg''s event_id, on each leg of a balanced transaction; legs stand next to each other.';
COMMENT ON COLUMN ledger_events.hold_id IS 'The event_id of the event that placed the hold.';
COMMENT ON COLUMN ledger_events.held_minor IS
'What the event adds to the amount held: positive where it places a hold, negative where it '
'settles one.';
COMMENT ON COLUMN ledger_events.hold_expires_at IS
'On the event that places a hold: when it expires by itself; null for never.';

CREATE TABLE holds (
    hold_id uuid NOT NULL CONSTRAINT holds_pkey PRIMARY KEY,
    expires_at timestamptz,
    settled_event_id uuid
);
COMMENT ON TABLE holds IS
'Which event settled each hold (null: it is pending): nothing is captured or released twice. '
'Written by append; made of what the events say, as verify checks.';
CREATE INDEX holds_due_idx ON holds (expires_at) WHERE settled_event_id IS NULL; -- noqa: CP04

ALTER TABLE ledger_settings ADD COLUMN next_hold_expiry timestamptz;
COMMENT ON COLUMN ledger_settings.next_hold_expiry IS
'Not a choice: no pending hold expires before then; null where none ever does.';

ALTER TABLE account_balances ADD COLUMN held_minor numeric(38, 0) NOT NULL DEFAULT 0;
COMMENT ON COLUMN account_balances.held_minor IS
'What pending holds set aside. Available is current_balance_minor - held_minor.';

-- The bytes of an event that concerns a hold say so after the external id. The first of them
-- cannot be taken for metadata, which begins with "{". Where hold_id or held_minor alone is missing
-- there are no bytes, and no hash is right. The function as it was stays until append needs it no
-- more.

CREATE FUNCTION event_bytes(
    seq bigint,
    event_id uuid,
    account_id text,
    transaction_time timestamptz,
    recorded_at timestamptz,
    event_type text,
    amount_minor bigint,
    currency char(3),
    transaction_id uuid,
    reverses_event_id uuid,
    external_id text,
    metadata jsonb,
    hold_id uuid,
    held_minor bigint,
    hold_expires_at timestamptz
) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT int8send(seq)
        || uuid_send(event_id)
        || int8send((extract(EPOCH FROM transaction_time) * 1000000)::bigint)
        || int8send((extract(EPOCH FROM recorded_at) * 1000000)::bigint)
        || int8send(amount_minor)
        || convert_to(currency::text, 'UTF8')
        || coalesce(uuid_send(transaction_id), '\x00000000000000000000000000000000')
        || coalesce(uuid_send(reverses_event_id), '\x00000000000000000000000000000000')
        || int4send(octet_length(account_id)) || convert_to(account_id, 'UTF8')
        || int4send(octet_length(event_type)) || convert_to(event_type, 'UTF8')
        || coalesce(
            int4send(octet_length(external_id)) || convert_to(external_id, 'UTF8'), '\xffffffff'
        )
        || CASE WHEN hold_id IS NULL AND held_minor IS NULL AND hold_expires_at IS NULL THEN '' ELSE
            '\x00'::bytea || uuid_send(hold_id) || int8send(held_minor)
            || coalesce(
                int8send((extract(EPOCH FROM hold_expires_at) * 1000000)::bigint),
                '\x7fffffffffffffff'
            )
        END
        || convert_to(metadata::text, 'UTF8')
$$;

CREATE OR REPLACE FUNCTION verify(
    from_seq bigint DEFAULT 1,
    to_seq bigint DEFAULT null,
    OUT ok boolean,
    OUT events_checked bigint,
    OUT first_bad_seq bigint,
    OUT reason text,
    OUT head_seq bigint,
    OUT head_hash bytea
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
-- Planned for the range at hand: a short one by the primary key, the whole ledger as it lies.
SET plan_cache_mode TO force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    nothing CONSTANT bytea := decode(repeat('00', 32), 'hex');
    start_seq CONSTANT bigint := greatest(coalesce(verify.from_seq, 1), 1);
    stop_seq bigint;
    open_end boolean;
    head ledger_head%ROWTYPE;
    before ledger_events%ROWTYPE;
    last ledger_events%ROWTYPE;
    last_in_range uuid;
    checked_last record;
BEGIN
    SELECT h.* INTO head FROM ledger_head AS h;
    open_end := coalesce(verify.to_seq >= head.last_seq, true);
    stop_seq := CASE WHEN open_end THEN head.last_seq ELSE verify.to_seq END;
    verify.ok := false;
    verify.events_checked := 0;
    verify.head_seq := head.last_seq;
    verify.head_hash := head.last_hash;

    -- The range is one of event_id, as projections read it, so that no seq hides an event from it.
    -- Of two events with one seq, the other one is in the range.
    IF start_seq > 1 THEN
        SELECT e.* INTO before FROM ledger_events AS e
        WHERE e.seq = start_seq - 1
        ORDER BY e.event_id::text COLLATE "C" LIMIT 1;
        IF before.event_id IS NULL AND (open_end OR stop_seq >= start_seq) THEN
            verify.first_bad_seq := start_seq - 1;
            verify.reason := 'the event before the range is missing';
            RETURN;
        END IF;
    END IF;
    IF NOT open_end THEN
        SELECT e.event_id INTO last_in_range FROM ledger_events AS e
        WHERE e.seq = stop_seq
        ORDER BY e.event_id::text COLLATE "C" DESC LIMIT 1;
    END IF;

    -- Each hash is recomputed from the stored hash before it: with the first and the last pinned,
    -- that proves the whole chain, and needs no loop. What cannot be hashed is a fault too.
    WITH checked AS (
        SELECT
            e.seq,
            CASE
                WHEN e.seq IS DISTINCT FROM coalesce(lag(e.seq) OVER in_order, start_seq - 1) + 1
                    THEN 'an event is missing, or out of order, before this one'
                WHEN NOT (
                    isfinite(e.transaction_time) AND isfinite(e.recorded_at)
                    AND coalesce(isfinite(e.hold_expires_at), true)
                )
                    OR e.hash IS DISTINCT FROM sha256(
                        coalesce(lag(e.hash) OVER in_order, before.hash, nothing)
                        || event_bytes(
                            e.seq, e.event_id, e.account_id, e.transaction_time, e.recorded_at,
                            e.event_type, e.amount_minor, e.currency, e.transaction_id,
                            e.reverses_event_id, e.external_id, e.metadata, e.hold_id, e.held_minor,
                            e.hold_expires_at
                        )
                    ) THEN 'the hash does not match the event and the hash before it'
            END AS fault
        FROM ledger_events AS e
        WHERE (before.event_id IS NULL OR e.event_id > before.event_id)
            AND (
                open_end
                OR e.event_id <= last_in_range
                OR (last_in_range IS NULL AND e.seq <= stop_seq)
            )
        WINDOW in_order AS (ORDER BY e.event_id)
    )

    SELECT
        count(*) AS events,
        max(seq) AS last_seq,
        min(seq) FILTER (WHERE fault IS NOT NULL) AS bad_seq,
        (array_agg(fault ORDER BY seq) FILTER (WHERE fault IS NOT NULL))[1] AS fault
    INTO checked_last
    FROM checked;

    verify.events_checked := checked_last.events;
    verify.first_bad_seq := checked_last.bad_seq;
    verify.reason := checked_last.fault;

    IF verify.reason IS NULL
        AND coalesce(checked_last.last_seq, start_seq - 1) <> greatest(stop_seq, start_seq - 1)
    THEN
        verify.first_bad_seq := least(coalesce(checked_last.last_seq, start_seq - 1), stop_seq) + 1;
        verify.reason := CASE
            WHEN open_end THEN 'the ledger does not end where its head says'
            ELSE 'the range ends too early'
        END;
    END IF;

    IF verify.reason IS NULL AND open_end THEN
        SELECT e.* INTO last FROM ledger_events AS e ORDER BY e.event_id DESC LIMIT 1;
        verify.reason := CASE
            WHEN head.last_hash <> coalesce(last.hash, nothing)
                THEN 'the last hash is not the head''s'
            WHEN head.last_event_id
                <> coalesce(last.event_id, '00000000-0000-0000-0000-000000000000')
                THEN 'the last event''s id is not the head''s'
            WHEN head.last_recorded_at <> coalesce(last.recorded_at, '1970-01-01 00:00:00+00')
                THEN 'the last event''s time is not the head''s'
        END;
        verify.first_bad_seq := CASE WHEN verify.reason IS NOT NULL THEN head.last_seq END;
    END IF;

    -- What keeps things unique must say what the events say, no more and no less.
    IF verify.reason IS NULL AND open_end AND start_seq = 1 THEN
        SELECT coalesce(f.seq, e.seq), f.fault
        INTO verify.first_bad_seq, verify.reason
        FROM (
            SELECT e.seq, x.event_id,
                CASE
                    WHEN e.seq IS NULL THEN 'external_ids has a row that is no event''s'
                    ELSE 'external_ids lacks this event''s external id'
                END AS fault
            FROM (SELECT * FROM ledger_events WHERE external_id IS NOT NULL) AS e
            FULL JOIN external_ids AS x
                ON x.external_id = e.external_id AND x.event_id = e.event_id
            WHERE e.seq IS NULL OR x.event_id IS NULL
            UNION ALL
            SELECT e.seq, v.event_id,
                CASE
                    WHEN e.seq IS NULL THEN 'reversals has a row that is no event''s'
                    ELSE 'reversals lacks this reversal'
                END
            FROM (SELECT * FROM ledger_events WHERE reverses_event_id IS NOT NULL) AS e
            FULL JOIN reversals AS v
                ON v.reversed_event_id = e.reverses_event_id AND v.event_id = e.event_id
            WHERE e.seq IS NULL OR v.event_id IS NULL
            UNION ALL
            SELECT e.seq, h.event_id,
                CASE
                    WHEN e.seq IS NULL THEN 'holds has a row that is no event''s'
                    ELSE 'holds lacks this event, or has another expiry'
                END
            FROM (SELECT * FROM ledger_events WHERE hold_id IS NOT NULL) AS e
            FULL JOIN (
                SELECT hold_id, hold_id AS event_id, expires_at FROM holds
                UNION ALL
                SELECT hold_id, settled_event_id, NULL FROM holds
                WHERE settled_event_id IS NOT NULL
            ) AS h
                ON h.hold_id = e.hold_id AND h.event_id = e.event_id
            WHERE e.seq IS NULL OR h.event_id IS NULL
                OR h.expires_at IS DISTINCT FROM e.hold_expires_at
        ) AS f
        LEFT JOIN ledger_events AS e ON e.event_id = f.event_id
        ORDER BY 1 NULLS LAST
        LIMIT 1;
    END IF;
    verify.ok := verify.reason IS NULL;
END
$$;
COMMENT ON FUNCTION verify IS
'Recomputes the hash chain over a range of seq (all of it by default) and names the first fault. '
'Only an open range (to_seq null) holds the ledger''s end to account, and only the whole ledger '
'also external_ids, reversals and holds.';
