-- A segment that is cut off, since it has events enough, tells of no change of rules after its last
-- event: whoever has a backup with that event leaves the segment out, and would lack the change.

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
    SELECT coalesce(max(c.change_id), 0) INTO segment_end.last_change
    FROM rule_changes AS c
    WHERE stop.event_id IS NULL OR c.changed_at <= stop.recorded_at;
END
$$;
