-- The archive: segments are taken from a ledger and replayed into another one in the same order. A
-- segment holds the events as they stand, the keys of the requests that made them, and the changes
-- of rules. Everything else is derived from these.

-- Taking a segment: in one snapshot, by the role that makes backups.

CREATE OR REPLACE FUNCTION segment_end(
    after_event_id uuid,
    events_max integer,
    OUT after_seq bigint,
    OUT after_hash bytea,
    OUT first_recorded_at timestamptz,
    OUT last_seq bigint,
    OUT last_event_id uuid,
    OUT last_hash bytea,
    OUT last_recorded_at timestamptz,
    OUT last_change bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan TO off
AS $$
#variable_conflict use_column
DECLARE
    start ledger_events%ROWTYPE;
    stop ledger_events%ROWTYPE;
BEGIN
    SELECT e.* INTO start FROM ledger_events AS e WHERE e.event_id = segment_end.after_event_id;
    IF start.event_id IS NOT NULL THEN
        segment_end.after_seq := start.seq;
        segment_end.after_hash := start.hash;
    ELSIF segment_end.after_event_id = '00000000-0000-0000-0000-000000000000' THEN
        segment_end.after_seq := 0;
        segment_end.after_hash := decode(repeat('00', 32), 'hex');
    ELSE
        RETURN;
    END IF;

    SELECT e.recorded_at INTO segment_end.first_recorded_at
    FROM ledger_events AS e WHERE e.event_id > segment_end.after_event_id
    ORDER BY e.event_id LIMIT 1;

    -- A segment ends where an append does, so that no append is ever restored by half. All events
    -- of one append have the same recorded_at, so their ids begin with the same millisecond.
    SELECT e.* INTO stop
    FROM ledger_events AS e WHERE e.event_id > segment_end.after_event_id
    ORDER BY e.event_id OFFSET segment_end.events_max - 1 LIMIT 1;
    IF stop.event_id IS NOT NULL THEN
        SELECT e.* INTO stop
        FROM ledger_events AS e
        WHERE e.event_id >= stop.event_id
            AND e.event_id < uuid_floor(stop.recorded_at + interval '1 millisecond')
            AND e.recorded_at = stop.recorded_at
        ORDER BY e.event_id DESC LIMIT 1;
        segment_end.last_seq := stop.seq;
        segment_end.last_event_id := stop.event_id;
        segment_end.last_hash := stop.hash;
        segment_end.last_recorded_at := stop.recorded_at;
    ELSE
        SELECT h.last_seq, h.last_event_id, h.last_hash, h.last_recorded_at
        INTO segment_end.last_seq, segment_end.last_event_id, segment_end.last_hash,
            segment_end.last_recorded_at
        FROM ledger_head AS h;
    END IF;
    -- A segment that is cut off holds no change of rules after its last event. A restore from a
    -- backup with that event leaves the segment out, and would lack the change.
    SELECT coalesce(max(c.change_id), 0) INTO segment_end.last_change
    FROM rule_changes AS c
    WHERE stop.event_id IS NULL OR c.changed_at <= stop.recorded_at;
END
$$;
COMMENT ON FUNCTION segment_end IS
'Where a segment ends that follows an event (nil: the beginning) and has events_max events, or a '
'few more, to end with an append. after_seq is null where there is no such event.';

CREATE OR REPLACE FUNCTION segment_events(after_event_id uuid, through_event_id uuid)
RETURNS SETOF ledger_events
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan TO off
SET jit TO off
AS $$
    SELECT e.* FROM ledger_events AS e
    WHERE e.event_id > after_event_id AND e.event_id <= through_event_id
    ORDER BY e.event_id
$$;
COMMENT ON FUNCTION segment_events IS 'The events of a segment, as they stand.';

CREATE OR REPLACE FUNCTION segment_keys(after_event_id uuid, through_event_id uuid)
RETURNS SETOF idempotency_keys
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan TO off
AS $$
    SELECT k.* FROM idempotency_keys AS k
    WHERE k.last_event_id > after_event_id AND k.last_event_id <= through_event_id
    ORDER BY k.last_event_id
$$;
COMMENT ON FUNCTION segment_keys IS 'The keys of the requests that made the events of a segment.';

CREATE OR REPLACE FUNCTION segment_rules(after_change bigint, through_change bigint)
RETURNS SETOF rule_changes
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT c.* FROM rule_changes AS c
    WHERE c.change_id > after_change AND c.change_id <= through_change
    ORDER BY c.change_id
$$;
COMMENT ON FUNCTION segment_rules IS 'The changes of rules of a segment.';

-- Replaying segments: by the owner, in a ledger that no service uses yet.

CREATE OR REPLACE FUNCTION stage_segments() RETURNS void
LANGUAGE sql
SET search_path FROM CURRENT
AS $$
    CREATE TEMPORARY TABLE staged_events (LIKE ledger_events) ON COMMIT DELETE ROWS;
    CREATE TEMPORARY TABLE staged_keys (LIKE idempotency_keys) ON COMMIT DELETE ROWS;
    CREATE TEMPORARY TABLE staged_rules (LIKE rule_changes) ON COMMIT DELETE ROWS;
$$;
COMMENT ON FUNCTION stage_segments IS
'Makes the temporary tables that a segment is copied into, for replay_segment to take it from.';

CREATE OR REPLACE FUNCTION replay_rules(until timestamptz, through_change bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    last bigint := (SELECT coalesce(max(c.change_id), 0) FROM rule_changes AS c);
    reached bigint;
    first bigint;
    changes bigint;
BEGIN
    SELECT min(s.change_id), max(s.change_id), count(*) INTO first, reached, changes
    FROM staged_rules AS s
    WHERE s.change_id > last AND s.changed_at <= until AND s.change_id <= through_change;
    IF changes = 0 THEN
        RETURN last;
    ELSIF first <> last + 1 OR reached <> last + changes THEN
        RAISE EXCEPTION 'the segment lacks the change of rules %', last + 1
        USING ERRCODE = 'data_exception';
    END IF;

    INSERT INTO rule_changes (change_id, changed_at, kind, subject, terms)
    SELECT s.change_id, s.changed_at, s.kind, s.subject, s.terms
    FROM staged_rules AS s
    WHERE s.change_id > last AND s.change_id <= reached;

    -- These changes are recorded already.
    ALTER TABLE event_types DISABLE TRIGGER record_rule_change;
    ALTER TABLE account_limits DISABLE TRIGGER record_rule_change;
    ALTER TABLE searchable_metadata DISABLE TRIGGER record_rule_change;
    ALTER TABLE ledger_settings DISABLE TRIGGER record_rule_change;

    CREATE TEMPORARY TABLE new_rules ON COMMIT DROP AS
    SELECT DISTINCT ON (c.kind, c.subject) c.kind, c.subject, c.terms
    FROM rule_changes AS c
    WHERE c.change_id > last
    ORDER BY c.kind, c.subject, c.change_id DESC;

    DELETE FROM event_types AS t USING new_rules AS n
    WHERE n.kind = 'event_type' AND n.subject = t.event_type;
    INSERT INTO event_types
    SELECT t.* FROM new_rules AS n
    CROSS JOIN LATERAL jsonb_populate_record(NULL::event_types, n.terms) AS t
    WHERE n.kind = 'event_type' AND n.terms IS NOT NULL;

    DELETE FROM account_limits AS l USING new_rules AS n
    WHERE n.kind = 'account_limit' AND n.subject = l.account_id || ' ' || l.currency;
    INSERT INTO account_limits
    SELECT l.* FROM new_rules AS n
    CROSS JOIN LATERAL jsonb_populate_record(NULL::account_limits, n.terms) AS l
    WHERE n.kind = 'account_limit' AND n.terms IS NOT NULL;

    DELETE FROM searchable_metadata AS m USING new_rules AS n
    WHERE n.kind = 'searchable_metadata' AND n.subject = m.metadata_key;
    INSERT INTO searchable_metadata (metadata_key)
    SELECT n.subject FROM new_rules AS n
    WHERE n.kind = 'searchable_metadata' AND n.terms IS NOT NULL;

    UPDATE ledger_settings AS s
    SET partition_span = n.terms ->> 'partition_span',
        idempotency_retention = (n.terms ->> 'idempotency_retention')::interval,
        event_types_closed = (n.terms ->> 'event_types_closed')::boolean
    FROM new_rules AS n
    WHERE n.kind = 'settings';
    UPDATE ledger_settings AS s
    SET with_event_types = s.event_types_closed OR EXISTS (SELECT FROM event_types),
        with_account_limits = EXISTS (SELECT FROM account_limits);

    DROP TABLE new_rules;
    ALTER TABLE event_types ENABLE TRIGGER record_rule_change;
    ALTER TABLE account_limits ENABLE TRIGGER record_rule_change;
    ALTER TABLE searchable_metadata ENABLE TRIGGER record_rule_change;
    ALTER TABLE ledger_settings ENABLE TRIGGER record_rule_change;
    RETURN reached;
END
$$;
COMMENT ON FUNCTION replay_rules IS
'Applies the staged changes of rules up to an instant and a number; returns the last one''s.';

CREATE OR REPLACE FUNCTION check_staged(
    head ledger_head,
    until timestamptz,
    through_seq bigint,
    OUT last_seq bigint,
    OUT first_recorded_at timestamptz
)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET plan_cache_mode TO force_custom_plan
AS $$
DECLARE
    misplaced_seq bigint;
    unproven_seq bigint;
BEGIN
    -- A segment may be replayed twice: the event that both have must be the same.
    IF EXISTS (
        SELECT FROM staged_events AS s WHERE s.seq = head.last_seq AND s.hash <> head.last_hash
    )
    THEN
        RAISE EXCEPTION 'the segment belongs to another history than the event %', head.last_seq
        USING ERRCODE = 'data_exception';
    END IF;

    SELECT
        max(c.seq),
        min(c.recorded_at),
        min(c.seq) FILTER (WHERE c.misplaced),
        min(c.seq) FILTER (WHERE c.unproven)
    INTO check_staged.last_seq, check_staged.first_recorded_at, misplaced_seq, unproven_seq
    FROM (
        SELECT s.seq, s.recorded_at,
            s.seq <> coalesce(lag(s.seq) OVER in_order, head.last_seq) + 1
                OR s.event_id <= coalesce(lag(s.event_id) OVER in_order, head.last_event_id)
                OR s.recorded_at
                < coalesce(lag(s.recorded_at) OVER in_order, head.last_recorded_at) AS misplaced,
            s.hash IS DISTINCT FROM sha256(
                coalesce(lag(s.hash) OVER in_order, head.last_hash)
                || event_bytes(
                    s.seq, s.event_id, s.account_id, s.transaction_time, s.recorded_at,
                    s.event_type, s.amount_minor, s.currency, s.transaction_id,
                    s.reverses_event_id, s.refunds_event_id, s.external_id, s.metadata, s.hold_id,
                    s.held_minor, s.hold_expires_at
                )
            ) AS unproven
        FROM staged_events AS s
        WHERE s.seq > head.last_seq
            AND s.seq <= check_staged.through_seq
            AND s.recorded_at <= check_staged.until
        WINDOW in_order AS (ORDER BY s.seq)
    ) AS c;
    IF misplaced_seq IS NOT NULL THEN
        RAISE EXCEPTION 'an event is missing, or out of order, before the event %', misplaced_seq
        USING ERRCODE = 'data_exception';
    ELSIF unproven_seq IS NOT NULL THEN
        RAISE EXCEPTION 'the hash of the event % does not match', unproven_seq
        USING ERRCODE = 'data_exception';
    END IF;
END
$$;
COMMENT ON FUNCTION check_staged IS
'Checks the staged events that follow a head, up to an instant and a seq. Returns the last seq and '
'the first time of them, or nulls where there are none.';

CREATE OR REPLACE FUNCTION add_staged(after_seq bigint, through_seq bigint) RETURNS ledger_head
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode TO force_custom_plan
AS $$
DECLARE
    head ledger_head%ROWTYPE;
BEGIN
    INSERT INTO ledger_events
    SELECT s.* FROM staged_events AS s
    WHERE s.seq > after_seq AND s.seq <= through_seq
    ORDER BY s.seq;

    INSERT INTO external_ids (external_id, event_id)
    SELECT s.external_id, s.event_id FROM staged_events AS s
    WHERE s.external_id IS NOT NULL AND s.seq > after_seq AND s.seq <= through_seq;
    INSERT INTO reversals (reversed_event_id, event_id)
    SELECT s.reverses_event_id, s.event_id FROM staged_events AS s
    WHERE s.reverses_event_id IS NOT NULL AND s.seq > after_seq AND s.seq <= through_seq;

    INSERT INTO holds (hold_id, expires_at)
    SELECT s.hold_id, s.hold_expires_at FROM staged_events AS s
    WHERE s.hold_id = s.event_id AND s.seq > after_seq AND s.seq <= through_seq;
    UPDATE holds AS h SET settled_event_id = s.event_id
    FROM staged_events AS s
    WHERE s.hold_id = h.hold_id AND s.hold_id <> s.event_id
        AND s.seq > after_seq AND s.seq <= through_seq;
    UPDATE ledger_settings
    SET next_hold_expiry = (
        SELECT min(h.expires_at) FROM holds AS h WHERE h.settled_event_id IS NULL
    );

    UPDATE ledger_head AS h
    SET last_seq = s.seq,
        last_event_id = s.event_id,
        last_recorded_at = s.recorded_at,
        last_hash = s.hash
    FROM staged_events AS s
    WHERE s.seq = through_seq
    RETURNING h.* INTO head;
    RETURN head;
END
$$;
COMMENT ON FUNCTION add_staged IS
'Adds the staged events after one seq up to another, and all that is derived from them; returns '
'the new head.';

CREATE OR REPLACE FUNCTION replay_segment(
    until timestamptz DEFAULT 'infinity',
    through_seq bigint DEFAULT 9223372036854775807,
    through_change bigint DEFAULT 9223372036854775807,
    OUT last_seq bigint,
    OUT last_event_id uuid,
    OUT last_hash bytea,
    OUT last_recorded_at timestamptz,
    OUT last_change bigint,
    OUT reached boolean
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET plan_cache_mode TO force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    head ledger_head%ROWTYPE;
    staged record;
BEGIN
    SELECT h.* INTO head FROM ledger_head AS h FOR UPDATE;
    replay_segment.reached := EXISTS (
        SELECT FROM staged_events AS s
        WHERE s.recorded_at > replay_segment.until OR s.seq > replay_segment.through_seq
    );
    SELECT c.* INTO staged
    FROM check_staged(head, replay_segment.until, replay_segment.through_seq) AS c;
    IF staged.last_seq IS NOT NULL THEN
        PERFORM make_earlier_partitions(staged.first_recorded_at);
        head := add_staged(head.last_seq, staged.last_seq);
    END IF;

    -- A key that had expired may have been used again.
    INSERT INTO idempotency_keys AS k
    SELECT DISTINCT ON (s.idempotency_key) s.* FROM staged_keys AS s
    WHERE s.last_event_id <= head.last_event_id
    ORDER BY s.idempotency_key, s.last_event_id DESC
    ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO UPDATE
    SET fingerprint = excluded.fingerprint,
        first_event_id = excluded.first_event_id,
        last_event_id = excluded.last_event_id,
        expires_at = excluded.expires_at
    WHERE k.last_event_id < excluded.last_event_id;

    replay_segment.last_change := replay_rules(
        replay_segment.until, replay_segment.through_change
    );
    replay_segment.last_seq := head.last_seq;
    replay_segment.last_event_id := head.last_event_id;
    replay_segment.last_hash := head.last_hash;
    replay_segment.last_recorded_at := head.last_recorded_at;
END
$$;
COMMENT ON FUNCTION replay_segment IS
'Adds what is staged to the ledger, up to an instant, an event and a change of rules. Returns '
'where the ledger then ends; reached says whether there were later events. Hashes are checked and '
'kept.';

CREATE OR REPLACE FUNCTION begin_epoch(new_epoch bigint) RETURNS void
LANGUAGE sql
SET search_path FROM CURRENT
AS $$
    UPDATE projection_checkpoint SET epoch = new_epoch
$$;
COMMENT ON FUNCTION begin_epoch IS 'Records which of the tenant''s restores this ledger is.';
