-- The archive: what a ledger has gained is taken from it in segments, and replayed into another one
-- in the same order. A segment holds what nothing else tells: the events as they stand, the keys of
-- the requests that made them, and changes of the rules. Everything else is made of these again.

-- Rules have no events of their own: their changes are written down here, numbered under the writer
-- lock, so that a ledger brought back to an instant has the rules of that instant.

CREATE TABLE rule_changes (
    change_id bigint NOT NULL CONSTRAINT rule_changes_pkey PRIMARY KEY,
    changed_at timestamptz NOT NULL,
    kind text COLLATE "C" NOT NULL
    CONSTRAINT rule_changes_kind CHECK (kind IN ('event_type', 'account_limit', 'settings')),
    subject text COLLATE "C" NOT NULL,
    terms jsonb
);
COMMENT ON TABLE rule_changes IS
'What the tenant''s rules and choices became, and when, numbered 1..n without a gap.';
COMMENT ON COLUMN rule_changes.subject IS
'Which one: an event type, an account and a currency, or nothing for the settings.';
COMMENT ON COLUMN rule_changes.terms IS 'The rule as it is from then on; null where it was lifted.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON rule_changes
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE rule_changes ENABLE ALWAYS TRIGGER append_only;

CREATE FUNCTION rule_of(table_name text, stored jsonb)
RETURNS TABLE (kind text, subject text, terms jsonb)
LANGUAGE sql IMMUTABLE
AS $$
    SELECT 'event_type', stored ->> 'event_type', stored
    WHERE table_name = 'event_types'
    UNION ALL
    SELECT 'account_limit', (stored ->> 'account_id') || ' ' || (stored ->> 'currency'), stored
    WHERE table_name = 'account_limits'
    UNION ALL
    SELECT 'settings', '', jsonb_build_object(
        'partition_span', stored -> 'partition_span',
        'idempotency_retention', stored -> 'idempotency_retention',
        'event_types_closed', stored -> 'event_types_closed'
    )
    WHERE table_name = 'ledger_settings'
$$;
COMMENT ON FUNCTION rule_of IS 'How a row of a table of rules is written down in rule_changes.';

CREATE FUNCTION take_writer_lock() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM FROM ledger_head FOR UPDATE;
    RETURN NULL;
END
$$;

CREATE FUNCTION note_rule_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    changed record;
BEGIN
    SELECT r.* INTO changed FROM rule_of(TG_TABLE_NAME, to_jsonb(coalesce(NEW, OLD))) AS r;
    INSERT INTO rule_changes (change_id, changed_at, kind, subject, terms)
    SELECT coalesce(max(c.change_id), 0) + 1,
        greatest(clock_timestamp(), max(c.changed_at)),
        changed.kind,
        changed.subject,
        CASE WHEN TG_OP <> 'DELETE' THEN changed.terms END
    FROM (SELECT * FROM rule_changes ORDER BY change_id DESC LIMIT 1) AS c;
    RETURN NULL;
END
$$;

-- The functions that set rules hold the lock already; who changes a table by hand takes it here.
CREATE TRIGGER take_writer_lock BEFORE INSERT OR UPDATE OR DELETE ON event_types
FOR EACH STATEMENT EXECUTE FUNCTION take_writer_lock();
CREATE TRIGGER note_rule_change AFTER INSERT OR UPDATE OR DELETE ON event_types
FOR EACH ROW EXECUTE FUNCTION note_rule_change();

CREATE TRIGGER take_writer_lock BEFORE INSERT OR UPDATE OR DELETE ON account_limits
FOR EACH STATEMENT EXECUTE FUNCTION take_writer_lock();
CREATE TRIGGER note_rule_change AFTER INSERT OR UPDATE OR DELETE ON account_limits
FOR EACH ROW EXECUTE FUNCTION note_rule_change();

-- Of the settings only the choices: the rest is noted by append and made of what is there.
CREATE TRIGGER take_writer_lock
BEFORE UPDATE OF partition_span, idempotency_retention, event_types_closed ON ledger_settings
FOR EACH STATEMENT EXECUTE FUNCTION take_writer_lock();
CREATE TRIGGER note_rule_change
AFTER UPDATE OF partition_span, idempotency_retention, event_types_closed ON ledger_settings
FOR EACH ROW
WHEN (
    (old.partition_span, old.idempotency_retention, old.event_types_closed)
    IS DISTINCT FROM
    (new.partition_span, new.idempotency_retention, new.event_types_closed)
)
EXECUTE FUNCTION note_rule_change();

-- What a ledger of an earlier release has already, but for what every new ledger has.
INSERT INTO rule_changes (change_id, changed_at, kind, subject, terms)
SELECT
    row_number() OVER (ORDER BY r.kind, r.subject) AS change_id,
    now() AS changed_at,
    r.kind,
    r.subject,
    r.terms
FROM (
    SELECT n.* FROM event_types AS t
    CROSS JOIN LATERAL rule_of('event_types', to_jsonb(t)) AS n
    UNION ALL
    SELECT n.* FROM account_limits AS l
    CROSS JOIN LATERAL rule_of('account_limits', to_jsonb(l)) AS n
    UNION ALL
    SELECT n.* FROM ledger_settings AS s
    CROSS JOIN LATERAL rule_of('ledger_settings', to_jsonb(s)) AS n
    WHERE
        (s.partition_span, s.idempotency_retention, s.event_types_closed)
        <> ('year', interval '24 hours', false)
) AS r;

-- Finds a segment's keys. Ids rise with every append, so that it costs appends next to nothing.
CREATE INDEX idempotency_keys_event_idx ON idempotency_keys (last_event_id);

-- Taking: in one snapshot, by the role that makes backups.

CREATE FUNCTION segment_end(
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

    -- A segment ends where an append does, so that none is ever restored by half: all the events of
    -- one have the same recorded_at, and so stand within the same millisecond of ids.
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
    SELECT coalesce(max(c.change_id), 0) INTO segment_end.last_change FROM rule_changes AS c;
END
$$;
COMMENT ON FUNCTION segment_end IS
'Where a segment ends that follows an event (nil: the beginning) and has so many events or, to end '
'with an append, a few more. after_seq is null where there is no such event.';

CREATE FUNCTION segment_events(after_event_id uuid, through_event_id uuid)
RETURNS TABLE (
    event_id uuid,
    seq bigint,
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
    hash bytea,
    hold_id uuid,
    held_minor bigint,
    hold_expires_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
SET enable_seqscan TO off
SET jit TO off
AS $$
    SELECT e.event_id, e.seq, e.account_id, e.transaction_time, e.recorded_at, e.event_type,
        e.amount_minor, e.currency, e.transaction_id, e.reverses_event_id, e.external_id,
        e.metadata, e.hash, e.hold_id, e.held_minor, e.hold_expires_at
    FROM ledger_events AS e
    WHERE e.event_id > after_event_id AND e.event_id <= through_event_id
    ORDER BY e.event_id
$$;
COMMENT ON FUNCTION segment_events IS 'The events of a segment, as they stand.';

CREATE FUNCTION segment_keys(after_event_id uuid, through_event_id uuid)
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

CREATE FUNCTION segment_rules(after_change bigint, through_change bigint)
RETURNS SETOF rule_changes
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT c.* FROM rule_changes AS c
    WHERE c.change_id > after_change AND c.change_id <= through_change
    ORDER BY c.change_id
$$;
COMMENT ON FUNCTION segment_rules IS 'The changes of rules that a segment tells of.';

-- Replaying: by the owner, in a ledger that nobody else works in yet.

CREATE FUNCTION make_earlier_partitions(since timestamptz) RETURNS integer
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    span CONSTANT text := (SELECT s.partition_span FROM ledger_settings AS s);
    step CONSTANT interval := ('1 ' || span)::interval;
    ends timestamp;
    starts timestamp;
    partition_name text;
    made integer := 0;
BEGIN
    SELECT to_timestamp(
        ('x' || replace(left(min(b.lower_bound COLLATE "C"), 13), '-', ''))::bit(48)::bigint
        / 1000.0
    ) AT TIME ZONE 'UTC'
    INTO ends
    FROM (
        SELECT substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''(.{36})''\)')
        FROM pg_inherits AS i
        INNER JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'ledger_events'::regclass
    ) AS b (lower_bound);
    WHILE since AT TIME ZONE 'UTC' < ends LOOP
        -- A span that begins before the first partition, and ends where that one begins.
        starts := date_trunc(span, ends - interval '1 microsecond');
        partition_name := 'ledger_events_'
            || to_char(starts, CASE span WHEN 'year' THEN 'YYYY' ELSE 'YYYY_MM' END)
            || CASE WHEN starts + step <> ends THEN '_' || to_char(ends, 'YYYY_MM') ELSE '' END;
        EXECUTE format(
            'CREATE TABLE %I (LIKE ledger_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
            partition_name
        );
        EXECUTE format(
            'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I'
            ' FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()',
            partition_name
        );
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER append_only', partition_name);
        EXECUTE format(
            'ALTER TABLE ledger_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            partition_name,
            uuid_floor(starts AT TIME ZONE 'UTC'),
            uuid_floor(ends AT TIME ZONE 'UTC')
        );
        made := made + 1;
        ends := starts;
    END LOOP;
    RETURN made;
END
$$;
COMMENT ON FUNCTION make_earlier_partitions IS
'Makes the partitions that events recorded since an instant need before the first one there is.';

CREATE FUNCTION stage_segments() RETURNS void
LANGUAGE sql
SET search_path FROM CURRENT
AS $$
    CREATE TEMPORARY TABLE staged_events (LIKE ledger_events) ON COMMIT DELETE ROWS;
    CREATE TEMPORARY TABLE staged_keys (LIKE idempotency_keys) ON COMMIT DELETE ROWS;
    CREATE TEMPORARY TABLE staged_rules (LIKE rule_changes) ON COMMIT DELETE ROWS;
$$;
COMMENT ON FUNCTION stage_segments IS
'Makes the temporary tables that a segment is copied into, for replay_segment to take it from.';

CREATE FUNCTION replay_rules(until timestamptz, through_change bigint) RETURNS bigint
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

    -- They are written down already.
    ALTER TABLE event_types DISABLE TRIGGER note_rule_change;
    ALTER TABLE account_limits DISABLE TRIGGER note_rule_change;
    ALTER TABLE ledger_settings DISABLE TRIGGER note_rule_change;

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
    ALTER TABLE event_types ENABLE TRIGGER note_rule_change;
    ALTER TABLE account_limits ENABLE TRIGGER note_rule_change;
    ALTER TABLE ledger_settings ENABLE TRIGGER note_rule_change;
    RETURN reached;
END
$$;
COMMENT ON FUNCTION replay_rules IS
'Applies the staged changes of rules up to an instant and a number; returns the last one''s.';

CREATE FUNCTION replay_segment(
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
    found record;
BEGIN
    SELECT h.* INTO head FROM ledger_head AS h FOR UPDATE;
    replay_segment.reached := EXISTS (
        SELECT FROM staged_events AS s
        WHERE s.recorded_at > replay_segment.until OR s.seq > replay_segment.through_seq
    );

    -- What is there already must be the same: a segment may be taken, and replayed, twice.
    IF EXISTS (
        SELECT FROM staged_events AS s WHERE s.seq = head.last_seq AND s.hash <> head.last_hash
    )
    THEN
        RAISE EXCEPTION 'the segment belongs to another history than the event %', head.last_seq
        USING ERRCODE = 'data_exception';
    END IF;

    SELECT
        count(*) AS events,
        max(c.seq) AS last_seq,
        min(c.recorded_at) AS first_recorded_at,
        min(c.seq) FILTER (WHERE c.misplaced) AS misplaced_seq,
        min(c.seq) FILTER (WHERE c.unproven) AS unproven_seq
    INTO found
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
                    s.reverses_event_id, s.external_id, s.metadata, s.hold_id, s.held_minor,
                    s.hold_expires_at
                )
            ) AS unproven
        FROM staged_events AS s
        WHERE s.seq > head.last_seq
            AND s.seq <= replay_segment.through_seq
            AND s.recorded_at <= replay_segment.until
        WINDOW in_order AS (ORDER BY s.seq)
    ) AS c;
    IF found.misplaced_seq IS NOT NULL THEN
        RAISE EXCEPTION 'an event is missing, or out of order, before the event %',
            found.misplaced_seq
        USING ERRCODE = 'data_exception';
    ELSIF found.unproven_seq IS NOT NULL THEN
        RAISE EXCEPTION 'the hash of the event % does not match', found.unproven_seq
        USING ERRCODE = 'data_exception';
    END IF;

    IF found.events > 0 THEN
        PERFORM make_earlier_partitions(found.first_recorded_at);
        INSERT INTO ledger_events
        SELECT s.* FROM staged_events AS s
        WHERE s.seq > head.last_seq AND s.seq <= found.last_seq
        ORDER BY s.seq;

        INSERT INTO external_ids (external_id, event_id)
        SELECT s.external_id, s.event_id FROM staged_events AS s
        WHERE s.external_id IS NOT NULL AND s.seq > head.last_seq AND s.seq <= found.last_seq;
        INSERT INTO reversals (reversed_event_id, event_id)
        SELECT s.reverses_event_id, s.event_id FROM staged_events AS s
        WHERE s.reverses_event_id IS NOT NULL
            AND s.seq > head.last_seq AND s.seq <= found.last_seq;

        INSERT INTO holds (hold_id, expires_at)
        SELECT s.hold_id, s.hold_expires_at FROM staged_events AS s
        WHERE s.hold_id = s.event_id AND s.seq > head.last_seq AND s.seq <= found.last_seq;
        UPDATE holds AS h SET settled_event_id = s.event_id
        FROM staged_events AS s
        WHERE s.hold_id = h.hold_id AND s.hold_id <> s.event_id
            AND s.seq > head.last_seq AND s.seq <= found.last_seq;
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
        WHERE s.seq = found.last_seq
        RETURNING h.* INTO head;
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
'Adds what has been staged to the ledger, up to an instant, an event and a change of rules; says '
'where it ends then; reached says whether there were later events. Hashes are checked and kept.';

CREATE FUNCTION begin_epoch(new_epoch bigint) RETURNS void
LANGUAGE sql
SET search_path FROM CURRENT
AS $$
    UPDATE projection_checkpoint SET epoch = new_epoch
$$;
COMMENT ON FUNCTION begin_epoch IS 'Says which of the tenant''s restores this ledger is.';
