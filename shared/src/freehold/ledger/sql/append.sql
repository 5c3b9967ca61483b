-- append: the one way to add events. One call answers many requests of one tenant.
--
-- `append` takes the writer lock and works in these steps, each a function of its own:
--   settle_expired_holds  (holds.sql) writes the ends of holds that have expired
--   known_requests        (keys.sql) answers requests whose keys were used before
--   judge                 (judgement.sql) refuses what the ledger or the tenant's rules forbid
--   write_additions       (this file) numbers, hashes and inserts what is left

CREATE OR REPLACE FUNCTION is_reserved(event_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    -- Whole families, so that the ledger may have more types of its own later.
    SELECT split_part(event_type, '_', 1) IN ('REVERSAL', 'HOLD')
$$;
COMMENT ON FUNCTION is_reserved IS
'Whether an event type is the ledger''s own: what reverses, holds, or settles a hold.';

CREATE OR REPLACE FUNCTION write_additions(
    asked addition[],
    has traits,
    head ledger_head,
    clock timestamptz,
    instant timestamptz,
    retention interval
) RETURNS growth
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    size CONSTANT integer := cardinality(asked);
    grown growth;
    new_ids uuid [];
    hashes bytea [];
BEGIN
    new_ids := ARRAY(
        SELECT uuid_v7(floor(extract(EPOCH FROM instant) * 1000)::bigint, head.last_seq + n.number)
        FROM generate_series(1, size) AS n (number)
    );
    hashes := chained(
        head.last_hash,
        ARRAY(
            SELECT event_bytes(
                head.last_seq + a.ordinality, new_ids[a.ordinality], a.account_id,
                coalesce(a.transaction_time, clock), instant, a.event_type, a.amount_minor,
                a.currency, new_ids[a.ordinality - a.leg + 1], a.reverses_event_id,
                a.refunds_event_id, a.external_id, a.metadata,
                CASE WHEN a.held_minor > 0 THEN new_ids[a.ordinality] ELSE a.hold_id END,
                a.held_minor, a.hold_expires_at
            )
            FROM unnest(asked) WITH ORDINALITY AS a
        )
    );
    INSERT INTO ledger_events (
        event_id, seq, account_id, transaction_time, recorded_at, event_type, amount_minor,
        currency, transaction_id, reverses_event_id, refunds_event_id, external_id, metadata, hash,
        hold_id, held_minor, hold_expires_at
    )
    SELECT new_ids[a.ordinality], head.last_seq + a.ordinality, a.account_id,
        coalesce(a.transaction_time, clock), instant, a.event_type, a.amount_minor, a.currency,
        new_ids[a.ordinality - a.leg + 1], a.reverses_event_id, a.refunds_event_id, a.external_id,
        a.metadata, hashes[a.ordinality],
        CASE WHEN a.held_minor > 0 THEN new_ids[a.ordinality] ELSE a.hold_id END, a.held_minor,
        a.hold_expires_at
    FROM unnest(asked) WITH ORDINALITY AS a;

    IF has.known_keys THEN
        -- A key that was used before has expired, or its request would not be written.
        DELETE FROM idempotency_keys AS k
        WHERE k.idempotency_key = ANY (ARRAY(SELECT a.key FROM unnest(asked) AS a));
    END IF;
    INSERT INTO idempotency_keys (
        idempotency_key, fingerprint, first_event_id, last_event_id, expires_at
    )
    SELECT a.key, a.fingerprint, new_ids[a.ordinality], new_ids[a.ordinality + a.additions - 1],
        clock + retention
    FROM unnest(asked) WITH ORDINALITY AS a
    WHERE a.key IS NOT NULL;
    IF has.external_ids THEN
        INSERT INTO external_ids (external_id, event_id)
        SELECT a.external_id, new_ids[a.ordinality] FROM unnest(asked) WITH ORDINALITY AS a
        WHERE a.external_id IS NOT NULL;
    END IF;
    IF has.originals THEN
        INSERT INTO reversals (reversed_event_id, event_id)
        SELECT a.reverses_event_id, new_ids[a.ordinality] FROM unnest(asked) WITH ORDINALITY AS a
        WHERE a.reverses_event_id IS NOT NULL;
    END IF;
    IF has.own_types THEN
        PERFORM write_holds(asked, new_ids);
    END IF;
    grown.last_seq := head.last_seq + size;
    grown.last_event_id := new_ids[size];
    grown.last_hash := hashes[size];
    UPDATE ledger_head AS h
    SET last_seq = grown.last_seq,
        last_event_id = grown.last_event_id,
        last_recorded_at = instant,
        last_hash = grown.last_hash
    FROM (
        SELECT string_agg(uuid_send(n.event_id), '') AS event_ids, string_agg(n.hash, '') AS hashes
        FROM unnest(new_ids, hashes) AS n (event_id, hash)
    ) AS n
    RETURNING n.event_ids, n.hashes INTO grown.event_ids, grown.event_hashes;
    RETURN grown;
END
$$;
COMMENT ON FUNCTION write_additions IS
'Writes additions that were accepted: events, what keeps them unique, and the ledger''s new head.';

-- Every request gets one of these outcomes. A refused one changes nothing, for itself or others.
--   created                 only answered where the caller is to be shown the events
--   replayed                its key was used for the same request
--   key_reused              its key was used for another request
--   duplicate_external_id   conflicting_id has that external id (null: within the request)
--   already_reversed        conflicting_id is the existing reversal (null: within the request)
--   event_not_found         the event to reverse does not exist
--   transaction_not_found   nor does the transaction
--   not_reversible          the event posts no amount (a hold or its release), or the opposite
--                           amount does not fit in 64 bits
--   transaction_leg         conflicting_id is the transaction, which is only reversed as a whole
--   predates_original       its transaction_time is before that of what it reverses or settles
--   unbalanced              the legs do not sum to zero in each currency
--   already_refunded        conflicting_id is an event of which too little is left, after its
--                           refunds or its reversal, for what the reversal takes from it
--   refunded_not_found      the event to refund does not exist
--   refund_of_refund        the event to refund is a refund itself
--   refund_of_reversal      it is a reversal
--   refund_of_hold          it posts no amount
--   refund_account          it is another account's
--   refund_currency         it has another currency
--   refund_sign             it has the same sign as its refund
--   refund_exceeds          too little of it is left, after earlier refunds or its reversal
--   hold_not_found          the hold does not exist
--   hold_not_pending        conflicting_id settled the hold (null: it has expired, or the request
--                           settles it twice)
--   hold_exceeded           the hold holds less than is to be captured
--   hold_expiry_past        the hold would have expired already
--   event_type_reserved     only the ledger itself gives this type to events
--   event_type_unknown      the type is not declared, and undeclared types are refused
--   event_type_sign         the type does not allow this sign
--   insufficient_funds      it would take an account below its limit
-- index is the request's addition at fault, or the leg of the transaction that it reverses; null
-- where no single one is.
--
-- room is how much is left of what a request takes too much of: of an event to refund or reverse,
-- or of an account above its limit.
--
-- A caller is shown the events that it cannot make of its requests, each in a row of the answer:
--   what a reversal or a settlement has added, and what placed the hold that is settled
--   what a replayed request has added
--   the event that stands against a refused request
--   an event that a refused reversal would have undone, if an account would be below its limit
--   the event that cannot be refunded
--
-- One more row, of request 0, is about all requests that were created. event_ids and event_hashes
-- (16 and 32 bytes each) are of their events, in the order of the additions: the last ones of the
-- ledger, up to last_seq. The call has written from first_seq on: expired holds come first.
--
-- The ledger's clock decides about keys and holds. recorded_at is the clock's time; if the last
-- event is not before it, it is one microsecond after that event, so that a clock that was set back
-- breaks no order. default_time is the transaction_time of events that were given none: always the
-- clock's. A caller compares its own clock in the same statement (agreed_now).
CREATE OR REPLACE FUNCTION append(additions json) RETURNS TABLE (
    request integer,
    index integer,
    outcome text,
    conflicting_id uuid,
    room numeric,
    event event_lines,
    event_ids bytea,
    event_hashes bytea,
    first_seq bigint,
    recorded_at timestamptz,
    default_time timestamptz,
    last_seq bigint,
    last_event_id uuid,
    last_hash bytea
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
-- A plan is made once, perhaps while the tables are small, and must serve when they are large. So
-- each lookup in the steps is a subquery of its own that one index answers.
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off
SET jit TO off
AS $$
#variable_conflict use_column
DECLARE
    head ledger_head;
    settings ledger_settings;
    clock timestamptz;
    instant timestamptz;
    asked addition [];
    has traits;
    judged judgement;
    grown growth;
    answers answer [] := '{}';
BEGIN
    -- The writer lock, held to commit: commit order is ledger order. Rules change under it too.
    SELECT h.* INTO head FROM ledger_head AS h FOR UPDATE;
    SELECT s.* INTO settings FROM ledger_settings AS s;
    clock := ledger_now();
    instant := greatest(clock, head.last_recorded_at + interval '1 microsecond');
    first_seq := head.last_seq + 1;

    -- Partitions are made long ahead. An append that finds none makes it, rather than fail: nothing
    -- in this transaction has opened the events yet.
    IF (instant < settings.partitions_until) IS NOT true THEN
        PERFORM make_partitions(instant);
    END IF;
    IF head.last_seq = 0 THEN
        PERFORM make_earlier_partitions(instant);
    END IF;

    IF settings.next_hold_expiry <= clock THEN
        PERFORM settle_expired_holds(settings, clock, instant);
        SELECT h.* INTO head FROM ledger_head AS h;
        clock := greatest(clock, ledger_now());
    END IF;

    asked := ARRAY(SELECT a FROM json_populate_recordset(NULL::addition, additions) AS a);
    SELECT
        max(a.request) > 1,
        count((SELECT k.expires_at FROM idempotency_keys AS k WHERE k.idempotency_key = a.key)) > 0,
        count(a.external_id) > 0,
        count((SELECT x.event_id FROM external_ids AS x WHERE x.external_id = a.external_id)) > 0
        OR count(a.reverses_event_id) + count(a.hold_id) > 0,
        count(a.reverses_event_id) + count(a.hold_id) > 0,
        count(a.refunds_event_id) > 0,
        coalesce(bool_or(is_reserved(a.event_type)), false),
        count(a.leg) > 0
    INTO has
    FROM unnest(asked) AS a;

    IF has.known_keys THEN
        answers := known_requests(asked, clock);
        asked := without(asked, answers);
    END IF;
    -- A key that expired since the clock was read may be forgotten by now. What is written under it
    -- is later than its end.
    clock := greatest(clock, ledger_now());
    instant := greatest(instant, clock);

    judged.accepted := asked;
    -- A call of one event mostly has nothing to judge.
    IF has.many OR has.external_ids OR has.originals OR has.refunds OR has.own_types OR has.legs
        OR settings.with_event_types OR settings.with_account_limits
    THEN
        judged := judge(asked, has, settings, clock);
        answers := answers || judged.answers;
    END IF;
    IF judged.accepted <> '{}' THEN
        grown := write_additions(
            judged.accepted, has, head, clock, instant, settings.idempotency_retention
        );
    ELSE
        grown := (head.last_seq, head.last_event_id, head.last_hash, '', '');
    END IF;

    IF answers <> '{}' OR has.originals THEN
        answers := late_answers(answers, asked, judged.accepted, grown.event_ids, clock);
        RETURN QUERY
        SELECT s.*, NULL::bytea, NULL::bytea, NULL::bigint, NULL::timestamptz, NULL::timestamptz,
            NULL::bigint, NULL::uuid, NULL::bytea
        FROM with_events(answers) AS s;
    END IF;

    request := 0;
    outcome := 'appended';
    event_ids := grown.event_ids;
    event_hashes := grown.event_hashes;
    recorded_at := instant;
    default_time := clock;
    last_seq := grown.last_seq;
    last_event_id := grown.last_event_id;
    last_hash := grown.last_hash;
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION append IS
'Appends the events of many requests, each all or none, and answers for each request.';
