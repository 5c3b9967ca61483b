-- append: the one way to add events. One call answers many requests of one tenant at once.

CREATE FUNCTION uuid_v7(milliseconds bigint, seq bigint) RETURNS uuid
LANGUAGE sql VOLATILE
AS $$
    SELECT (
        lpad(to_hex(milliseconds), 12, '0')
        || '7' || lpad(to_hex((seq >> 30) & 4095), 3, '0')
        || to_hex((2::bigint << 30) | (seq & 1073741823))
        || right(gen_random_uuid()::text, 8)
    )::uuid
$$;
COMMENT ON FUNCTION uuid_v7(bigint, bigint) IS
'A UUIDv7 whose counter (RFC 9562, section 6.2, method 1) is seq, 42 bits of it.';

-- Parameters arrive as text arrays, which every driver can send without asking for types first.
-- There is one entry a request in request_*, and one entry an event in the others, where
-- event_requests says (from 1) whose event it is; a request's events stand together and in order.
-- An event with reverses_event_ids set takes its account, type, amount and currency from the event
-- it reverses.
--
-- Every request has one of these outcomes, and a refused one changes nothing, nor its neighbours:
--   created                 its events, as written
--   replayed                its key was used for the same request: the events written then
--   key_reused              its key was used for another request
--   duplicate_external_id   conflicting_event_id has that external id (null: within it)
--   already_reversed        conflicting_event_id is the existing reversal (null: within it)
--   event_not_found         the event to reverse does not exist
--   not_reversible          the opposite amount does not fit in 64 bits
CREATE FUNCTION append(
    request_keys text[],
    request_fingerprints text[],
    event_requests text[],
    account_ids text[],
    transaction_times text[],
    event_types text[],
    amounts_minor text[],
    currencies text[],
    reverses_event_ids text[],
    external_ids text[],
    metadata text[]
) RETURNS TABLE (
    request integer,
    outcome text,
    conflicting_event_id uuid,
    event_id uuid,
    seq bigint,
    account_id text,
    transaction_time timestamptz,
    recorded_at timestamptz,
    event_type text,
    amount_minor bigint,
    currency text,
    transaction_id uuid,
    reverses_event_id uuid,
    external_id text,
    metadata_json text,
    hash bytea
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
-- Planning anew for each call would cost more than the call, and a plan made while the tables
-- are small must serve when they are large. So every lookup below is a subquery of its own that one
-- index alone can answer: no plan of it reads a table from end to end.
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off
SET jit TO off
AS $$
#variable_conflict use_column
DECLARE
    head ledger_head%ROWTYPE;
    instant timestamptz;
    milliseconds bigint;
    retention interval;
    partitions_until timestamptz;
    owners CONSTANT integer [] := event_requests;
    targets CONSTANT uuid [] := reverses_event_ids;
    with_external CONSTANT boolean := array_remove(external_ids, NULL) <> '{}';
    with_targets CONSTANT boolean := array_remove(reverses_event_ids, NULL) <> '{}';
    pending integer [] := ARRAY(SELECT generate_subscripts(request_keys, 1));
    wave integer [];
    settled integer [];
    claim record;
    holders integer [];
    turned_away boolean [];
    waiting integer [];
    late_requests integer [];
    late_outcomes text [];
    late_claims text [];
BEGIN
    -- The writer lock, held to commit: commit order is ledger order.
    SELECT h.* INTO head FROM ledger_head AS h FOR UPDATE;
    SELECT s.idempotency_retention, s.partitions_until INTO retention, partitions_until
    FROM ledger_settings AS s;
    -- A clock set back must not break the order of ids.
    instant := greatest(clock_timestamp(), head.last_recorded_at);
    milliseconds := floor(extract(EPOCH FROM instant) * 1000);

    -- Partitions are made long ahead, by others; a tenant whom nobody has looked after for that long
    -- must not be stuck. Nothing has opened the events yet, so one can be attached here.
    IF (instant < partitions_until) IS NOT TRUE THEN
        PERFORM make_partitions(instant);
    END IF;

    -- One round for all, and a second one for those whose key another one of this call has used.
    WHILE pending <> '{}' LOOP
        -- Requests whose key is known are settled first.
        SELECT array_agg(r.request) INTO settled
        FROM unnest(pending) AS r (request)
        WHERE (
            SELECT k.expires_at FROM idempotency_keys AS k
            WHERE k.idempotency_key = request_keys[r.request]
        ) > instant;

        IF settled IS NOT NULL THEN
            RETURN QUERY
            SELECT r.request, CASE WHEN e.event_id IS NULL THEN 'key_reused' ELSE 'replayed' END,
                NULL::uuid, e.event_id, e.seq, e.account_id, e.transaction_time, e.recorded_at,
                e.event_type, e.amount_minor, e.currency::text, e.transaction_id,
                e.reverses_event_id, e.external_id, e.metadata::text, e.hash
            FROM unnest(settled) AS r (request)
            CROSS JOIN LATERAL (
                SELECT * FROM idempotency_keys AS k
                WHERE k.idempotency_key = request_keys[r.request]
                OFFSET 0
            ) AS k
            LEFT JOIN LATERAL (
                SELECT * FROM ledger_events AS e
                WHERE k.fingerprint = request_fingerprints[r.request]
                    AND e.event_id BETWEEN k.first_event_id AND k.last_event_id
                OFFSET 0
            ) AS e ON true;
            pending := ARRAY(
                SELECT r.request FROM unnest(pending) AS r (request)
                WHERE r.request <> ALL (settled) ORDER BY r.request
            );
            EXIT WHEN pending = '{}';
        END IF;

        -- Requests are decided as if they came one after the other. Each claims its key, and then
        -- its events' external ids and targets in their order. A claim that an earlier event stands
        -- against refuses its request, and so does one that an earlier request of this call holds;
        -- claims that are neither contested nor refused need no look.
        wave := pending;
        IF cardinality(pending) > 1 OR with_external OR with_targets THEN
            FOR claim IN
                WITH claims AS (
                    SELECT r.request, 0 AS place, 'key' AS kind, r.request AS number,
                        request_keys[r.request] COLLATE "C" AS claimed
                    FROM unnest(pending) AS r (request)
                    WHERE request_keys[r.request] IS NOT NULL
                    UNION ALL
                    SELECT a.request, a.place, 'external', cardinality(request_keys) + a.place,
                        a.claimed COLLATE "C"
                    FROM unnest(owners, external_ids)
                    WITH ORDINALITY AS a (request, claimed, place)
                    WHERE with_external AND a.claimed IS NOT NULL AND a.request = ANY (pending)
                    UNION ALL
                    SELECT a.request, a.place, 'target',
                        cardinality(request_keys) + cardinality(owners) + a.place,
                        a.claimed::text COLLATE "C"
                    FROM unnest(owners, targets)
                    WITH ORDINALITY AS a (request, claimed, place)
                    WHERE with_targets AND a.claimed IS NOT NULL AND a.request = ANY (pending)
                ),
                found AS MATERIALIZED (
                    SELECT c.request, c.place, c.kind, c.claimed,
                        min(c.number) OVER same AS thing,
                        count(*) OVER same > 1 AS contested,
                        CASE c.kind WHEN 'external' THEN (
                            SELECT x.event_id FROM external_ids AS x
                            WHERE x.external_id = c.claimed
                        ) END AS external_event_id,
                        CASE c.kind WHEN 'target' THEN (
                            SELECT v.event_id FROM reversals AS v
                            WHERE v.reversed_event_id = c.claimed::uuid
                        ) END AS reversal_event_id,
                        CASE c.kind WHEN 'target' THEN (
                            SELECT e.amount_minor FROM ledger_events AS e
                            WHERE e.event_id = c.claimed::uuid
                        ) END AS target_amount_minor
                    FROM claims AS c
                    WINDOW same AS (PARTITION BY c.kind, c.claimed)
                ),
                judged AS (
                    SELECT f.request, f.place, f.kind, f.claimed, f.thing, f.contested,
                        coalesce(f.external_event_id, f.reversal_event_id) AS conflicting,
                        CASE
                            WHEN f.external_event_id IS NOT NULL THEN 'duplicate_external_id'
                            WHEN f.kind <> 'target' THEN NULL
                            WHEN f.target_amount_minor IS NULL THEN 'event_not_found'
                            WHEN f.reversal_event_id IS NOT NULL THEN 'already_reversed'
                            WHEN f.target_amount_minor = -9223372036854775808
                                THEN 'not_reversible'
                        END AS refusal,
                        CASE f.kind
                            WHEN 'external' THEN 'duplicate_external_id'
                            WHEN 'target' THEN 'already_reversed'
                        END AS refusal_if_held
                    FROM found AS f
                )
                SELECT * FROM judged AS j
                WHERE j.contested OR j.refusal IS NOT NULL
                ORDER BY j.request, j.place, j.kind
            LOOP
                IF turned_away IS NULL THEN
                    turned_away := array_fill(false, ARRAY[cardinality(request_keys)]);
                    holders := array_fill(
                        NULL::integer, ARRAY[cardinality(request_keys) + 2 * cardinality(owners)]
                    );
                END IF;
                CONTINUE WHEN turned_away[claim.request];
                IF claim.refusal IS NULL
                    AND coalesce(turned_away[holders[claim.thing]], true)
                THEN
                    holders[claim.thing] := claim.request;
                    CONTINUE;
                END IF;

                turned_away[claim.request] := true;
                IF claim.refusal IS NOT NULL OR holders[claim.thing] = claim.request THEN
                    request := claim.request;
                    outcome := coalesce(claim.refusal, claim.refusal_if_held);
                    conflicting_event_id := claim.conflicting;
                    RETURN NEXT;
                ELSIF claim.kind = 'key' THEN
                    waiting := waiting || claim.request;
                ELSE
                    -- Which event it is that stands against it will be known in a moment.
                    late_requests := late_requests || claim.request;
                    late_outcomes := late_outcomes || claim.refusal_if_held;
                    late_claims := late_claims || claim.claimed;
                END IF;
            END LOOP;
            IF turned_away IS NOT NULL THEN
                wave := ARRAY(
                    SELECT r.request FROM unnest(pending) AS r (request)
                    WHERE NOT turned_away[r.request] ORDER BY r.request
                );
                EXIT WHEN wave = '{}';
            END IF;
        END IF;

        IF with_targets THEN
            -- A reversal is its target with the opposite amount.
            SELECT array_agg(coalesce(e.account_id, a.account_id) ORDER BY a.place),
                array_agg(CASE WHEN e.event_id IS NULL THEN a.event_type ELSE 'REVERSAL' END
                    ORDER BY a.place),
                array_agg(coalesce(-e.amount_minor, a.amount_minor::bigint) ORDER BY a.place),
                array_agg(coalesce(e.currency, a.currency) ORDER BY a.place)
            INTO account_ids, event_types, amounts_minor, currencies
            FROM unnest(account_ids, event_types, amounts_minor, currencies, owners, targets)
            WITH ORDINALITY AS a (
                account_id, event_type, amount_minor, currency, request, target, place
            )
            LEFT JOIN LATERAL (
                SELECT * FROM ledger_events AS e
                WHERE e.event_id = a.target AND a.request = ANY (wave)
                OFFSET 0
            ) AS e ON true;
        END IF;

        RETURN QUERY
        WITH asked AS MATERIALIZED (
            SELECT a.request, a.account_id, a.event_type, a.amount_minor::bigint AS amount_minor,
                a.currency::char(3) AS currency, a.target, a.external_id,
                a.metadata::jsonb AS metadata,
                coalesce(a.transaction_time::timestamptz, instant) AS transaction_time,
                head.last_seq + row_number() OVER () AS seq,
                uuid_v7(milliseconds, head.last_seq + row_number() OVER ()) AS event_id
            FROM unnest(
                owners, account_ids, transaction_times, event_types, amounts_minor, currencies,
                targets, external_ids, metadata
            ) AS a (
                request, account_id, transaction_time, event_type, amount_minor, currency,
                target, external_id, metadata
            )
            WHERE a.request = ANY (wave)
        ),
        written AS MATERIALIZED (
            SELECT a.*, chain(
                head.last_hash,
                event_bytes(
                    a.seq, a.event_id, a.account_id, a.transaction_time, instant, a.event_type,
                    a.amount_minor, a.currency, NULL, a.target, a.external_id, a.metadata
                )
            ) OVER (ROWS UNBOUNDED PRECEDING) AS hash
            FROM asked AS a
        ),
        events AS (
            INSERT INTO ledger_events (
                event_id, seq, account_id, transaction_time, recorded_at, event_type,
                amount_minor, currency, reverses_event_id, external_id, metadata, hash
            )
            SELECT w.event_id, w.seq, w.account_id, w.transaction_time, instant, w.event_type,
                w.amount_minor, w.currency, w.target, w.external_id, w.metadata, w.hash
            FROM written AS w
        ),
        remembered AS (
            INSERT INTO idempotency_keys AS k (
                idempotency_key, fingerprint, first_event_id, last_event_id, expires_at
            )
            SELECT request_keys[w.request], request_fingerprints[w.request],
                (array_agg(w.event_id))[1], (array_agg(w.event_id))[count(*)],
                instant + retention
            FROM written AS w
            WHERE request_keys[w.request] IS NOT NULL
            GROUP BY w.request
            -- Only an expired key can stand in the way here, and it makes room.
            ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO UPDATE
            SET fingerprint = excluded.fingerprint,
                first_event_id = excluded.first_event_id,
                last_event_id = excluded.last_event_id,
                expires_at = excluded.expires_at
        )
        SELECT w.request, 'created', NULL::uuid, w.event_id, w.seq, w.account_id,
            w.transaction_time, instant, w.event_type, w.amount_minor, w.currency::text,
            NULL::uuid, w.target, w.external_id, w.metadata::text, w.hash
        FROM written AS w;

        IF with_external THEN
            INSERT INTO external_ids (external_id, event_id)
            SELECT e.external_id, e.event_id FROM ledger_events AS e
            WHERE e.event_id > head.last_event_id AND e.external_id IS NOT NULL;
        END IF;
        IF with_targets THEN
            INSERT INTO reversals (reversed_event_id, event_id)
            SELECT e.reverses_event_id, e.event_id FROM ledger_events AS e
            WHERE e.event_id > head.last_event_id AND e.reverses_event_id IS NOT NULL;
        END IF;

        UPDATE ledger_head AS h
        SET last_seq = e.seq,
            last_event_id = e.event_id,
            last_recorded_at = instant,
            last_hash = e.hash
        FROM (
            SELECT e.seq, e.event_id, e.hash FROM ledger_events AS e
            WHERE e.event_id > head.last_event_id
            ORDER BY e.event_id DESC LIMIT 1
        ) AS e
        RETURNING h.* INTO head;

        -- Refused for what has been written just now.
        IF late_requests IS NOT NULL THEN
            FOR request, outcome, conflicting_event_id IN
                SELECT l.request, l.outcome,
                    CASE l.outcome
                        WHEN 'duplicate_external_id' THEN (
                            SELECT x.event_id FROM external_ids AS x
                            WHERE x.external_id = l.claimed
                        )
                        ELSE (
                            SELECT v.event_id FROM reversals AS v
                            WHERE v.reversed_event_id = l.claimed::uuid
                        )
                    END
                FROM unnest(late_requests, late_outcomes, late_claims)
                AS l (request, outcome, claimed)
            LOOP
                RETURN NEXT;
            END LOOP;
        END IF;

        EXIT WHEN waiting IS NULL;
        pending := waiting;
        waiting := NULL;
        turned_away := NULL;
        late_requests := NULL;
        late_outcomes := NULL;
        late_claims := NULL;
    END LOOP;
END
$$;
COMMENT ON FUNCTION append IS
'Appends the events of many requests, each all or none, and answers for each request.';

CREATE FUNCTION head(
    OUT last_seq bigint,
    OUT last_event_id uuid,
    OUT last_hash bytea,
    OUT last_recorded_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT last_seq, last_event_id, last_hash, last_recorded_at FROM ledger_head
$$;
COMMENT ON FUNCTION head IS 'Where the ledger ends.';
