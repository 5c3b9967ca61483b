-- append, as it is from here on: transactions, holds and the tenant's rules beside what it did
-- before, and an answer that carries only what the caller cannot know.

DROP FUNCTION append;
DROP FUNCTION event_bytes(
    bigint, uuid, text, timestamptz, timestamptz, text, bigint, char(3), uuid, uuid, text, jsonb
);
COMMENT ON FUNCTION event_bytes IS 'The canonical bytes of an event, unambiguous for any values.';

CREATE OR REPLACE FUNCTION uuid_v7(milliseconds bigint, seq bigint) RETURNS uuid
LANGUAGE sql VOLATILE
AS $$
    -- As two halves of 64 bits: 28672 is the version, 7, and 2 << 62 the variant.
    SELECT (
        lpad(to_hex((milliseconds << 16) | 28672 | ((seq >> 30) & 4095)), 16, '0')
        || to_hex(
            (2::bigint << 62) | ((seq & 1073741823) << 32) | (random() * 4294967295)::bigint
        )
    )::uuid
$$;

CREATE FUNCTION known_requests(
    request_keys text[], request_fingerprints text[], wanted integer[]
) RETURNS TABLE (request integer, outcome text, event_ids bytea)
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $$
    SELECT r.request,
        CASE
            WHEN k.fingerprint = request_fingerprints[r.request] THEN 'replayed' ELSE 'key_reused'
        END,
        uuid_send(k.first_event_id) || uuid_send(k.last_event_id)
    FROM unnest(wanted) AS r (request)
    CROSS JOIN LATERAL (
        SELECT * FROM idempotency_keys AS k
        WHERE k.idempotency_key = request_keys[r.request]
        OFFSET 0
    ) AS k
$$;
COMMENT ON FUNCTION known_requests IS 'What became of requests whose keys have been used before.';

-- Parameters arrive as text arrays, which every driver can send without asking for types first.
-- There is one entry a request in request_*, and one entry an event in the others, where
-- event_requests says (from 1) whose event it is; a request's events stand together and in order.
-- An array that has nothing to say may be null as a whole.
--   reverses_event_ids  the event takes account, type, amount and currency from the one it reverses
--   held_minor          (positive) the event places a hold, which hold_expiries may end
--   hold_ids            the event settles a hold, whose account and currency it takes; a captured
--                       amount that is null is all that is held
--   request_transactions  'true' where the request's events are the legs of one transaction, or the
--                       reversals of all of its legs
--
-- Every request has one of these outcomes, and a refused one changes nothing, nor its neighbours.
-- There is a row for each request that was not created, and one more, of request 0, for all that
-- were: their event_ids and event_hashes, in the order they were asked for, are those of the last
-- events up to last_seq, where the ledger ends now. From first_seq on it has grown in this call, by
-- holds that have expired before anything else.
--   appended                (of request 0 alone)
--   replayed                its key was used for the same request: first and last event_id of then
--   key_reused              its key was used for another request
--   duplicate_external_id   conflicting_id has that external id (null: within it)
--   already_reversed        conflicting_id is the existing reversal (null: within it)
--   event_not_found         the event to reverse does not exist
--   not_reversible          it posts no amount (a hold, say, or its release), or the opposite one
--                           does not fit in 64 bits
--   transaction_leg         conflicting_id is the transaction that can only be reversed as a whole
--   unbalanced              the legs do not sum to zero in each currency
--   hold_not_found          the hold does not exist
--   hold_not_pending        conflicting_id settled the hold (null: it has expired, or within it)
--   hold_exceeded           the hold holds less than is to be captured
--   hold_expiry_past        the hold to place would have expired already
--   event_type_unknown      the type is not declared, and others are refused
--   event_type_sign         the type does not allow this sign
--   insufficient_funds      an account would be taken below its limit, at first by place
-- place is the event at fault among all of the call's, from 1, where a single one is.
CREATE FUNCTION append(
    request_keys text[],
    request_fingerprints text[],
    request_transactions text[],
    event_requests text[],
    account_ids text[],
    transaction_times text[],
    event_types text[],
    amounts_minor text[],
    currencies text[],
    reverses_event_ids text[],
    external_ids text[],
    metadata text[],
    hold_ids text[],
    held_minor text[],
    hold_expiries text[]
) RETURNS TABLE (
    request integer,
    outcome text,
    conflicting_id uuid,
    place integer,
    first_seq bigint,
    recorded_at timestamptz,
    event_ids bytea,
    event_hashes bytea,
    last_seq bigint,
    last_event_id uuid,
    last_hash bytea
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
    settings ledger_settings%ROWTYPE;
    instant timestamptz;
    start_seq bigint;
    requests CONSTANT integer := cardinality(request_keys);
    owners integer [] := event_requests;
    with_external CONSTANT boolean := external_ids IS NOT NULL;
    with_targets CONSTANT boolean := reverses_event_ids IS NOT NULL;
    with_holds CONSTANT boolean := hold_ids IS NOT NULL OR held_minor IS NOT NULL;
    with_transactions CONSTANT boolean := request_transactions IS NOT NULL;
    known integer [];
    turned_away boolean [];
    judging boolean;
    claim record;
    holders integer [];
    holder integer;
    room numeric [];
    taken_from integer [];
    taken numeric [];
    waiting integer [];
    late_requests integer [];
    late_places integer [];
    late_outcomes text [];
    late_claims text [];
    new_ids uuid [];
    transaction_ids uuid [];
BEGIN
    -- The writer lock, held to commit: commit order is ledger order.
    SELECT h.* INTO head FROM ledger_head AS h FOR UPDATE;
    start_seq := head.last_seq;
    -- Read under the lock: rules change under it.
    SELECT s.* INTO settings FROM ledger_settings AS s;
    -- A clock set back must not break the order of ids.
    instant := greatest(clock_timestamp(), head.last_recorded_at);

    -- Partitions are made long ahead, by others; a tenant whom nobody has looked after for that long
    -- must not be stuck. Nothing has opened the events yet, so one can be attached here.
    IF (instant < settings.partitions_until) IS NOT TRUE THEN
        PERFORM make_partitions(instant);
    END IF;

    IF settings.next_hold_expiry <= instant THEN
        PERFORM settle_expired_holds(instant);
        SELECT h.* INTO head FROM ledger_head AS h;
        instant := greatest(instant, head.last_recorded_at);
    END IF;

    -- Requests whose key is known are settled first.
    SELECT array_agg(r.request) INTO known
    FROM generate_series(1, requests) AS r (request)
    WHERE (
        SELECT k.expires_at FROM idempotency_keys AS k
        WHERE k.idempotency_key = request_keys[r.request]
    ) > instant;
    IF known IS NOT NULL THEN
        turned_away := array_fill(false, ARRAY[requests]);
        -- A key that has expired and was forgotten since it was seen is not known any more.
        FOR request, outcome, event_ids IN
            SELECT k.request, k.outcome, k.event_ids
            FROM known_requests(request_keys, request_fingerprints, known) AS k
        LOOP
            turned_away[request] := true;
            RETURN NEXT;
        END LOOP;
        event_ids := NULL;
    END IF;

    IF with_targets OR with_holds THEN
        -- A reversal is its target with the opposite amount; a settlement is about its hold.
        SELECT array_agg(coalesce(e.account_id, a.account_id) ORDER BY a.place),
            array_agg(
                CASE WHEN a.target IS NULL THEN a.event_type ELSE 'REVERSAL' END ORDER BY a.place
            ),
            array_agg(
                CASE
                    WHEN a.target IS NOT NULL THEN (-e.amount_minor::numeric)::text
                    ELSE coalesce(a.amount_minor, (-e.held_minor)::text)
                END ORDER BY a.place
            ),
            array_agg(coalesce(e.currency::text, a.currency) ORDER BY a.place),
            array_agg(
                CASE WHEN a.hold IS NULL THEN a.held ELSE (-e.held_minor)::text END ORDER BY a.place
            )
        INTO account_ids, event_types, amounts_minor, currencies, held_minor
        FROM unnest(
            account_ids, event_types, amounts_minor, currencies, reverses_event_ids, hold_ids,
            held_minor
        ) WITH ORDINALITY AS a (
            account_id, event_type, amount_minor, currency, target, hold, held, place
        )
        LEFT JOIN LATERAL (
            SELECT * FROM ledger_events AS e
            WHERE e.event_id = coalesce(a.target, a.hold)::uuid
            OFFSET 0
        ) AS e ON true;
    END IF;

    -- Most calls need no judging: nothing in them is claimed twice, and no rule applies.
    judging := with_targets OR with_holds OR with_transactions
        OR settings.with_event_types OR settings.with_account_limits;
    IF NOT judging AND requests > 1 THEN
        judging := (
            SELECT count(k.claimed) > count(DISTINCT k.claimed COLLATE "C")
            FROM unnest(request_keys) AS k (claimed)
        );
    END IF;
    IF NOT judging AND with_external THEN
        judging := (
            SELECT count(x.claimed) > count(DISTINCT x.claimed COLLATE "C")
                OR count((SELECT t.event_id FROM external_ids AS t
                    WHERE t.external_id = x.claimed)) > 0
            FROM unnest(external_ids) AS x (claimed)
        );
    END IF;

    -- Requests are decided as if they came one after the other. Each claims its key, and then
    -- its events' external ids, targets and holds in their order. A claim that an earlier event
    -- stands against refuses its request, and so does one that an earlier request of this call
    -- holds; claims that are neither contested nor refused need no look. Last, each request takes
    -- from the room that limited accounts have above their limits.
    IF judging THEN
        turned_away := coalesce(turned_away, array_fill(false, ARRAY[requests]));
        holders := array_fill(NULL::integer, ARRAY[requests + 3 * cardinality(owners)]);
        FOR claim IN
            WITH asked AS MATERIALIZED (
                SELECT a.request, a.place::integer AS place, a.account_id, a.event_type,
                    a.amount_minor::numeric AS amount_minor, a.currency, a.target::uuid AS target,
                    a.external_id, a.hold::uuid AS hold, a.held::bigint AS held,
                    a.hold_expiry::timestamptz AS hold_expiry,
                    coalesce(request_transactions[a.request] = 'true', false) AS is_leg
                FROM unnest(
                    owners, account_ids, event_types, amounts_minor, currencies,
                    reverses_event_ids, external_ids, hold_ids, held_minor, hold_expiries
                ) WITH ORDINALITY AS a (
                    request, account_id, event_type, amount_minor, currency,
                    target, external_id, hold, held, hold_expiry, place
                )
                WHERE NOT turned_away[a.request]
            ),
            claims AS (
                SELECT r.request, 0 AS place, 'key' AS kind, r.request AS number,
                    request_keys[r.request] COLLATE "C" AS claimed, false AS is_leg,
                    NULL::numeric AS amount_minor, NULL::text AS event_type
                FROM generate_series(1, requests) AS r (request)
                WHERE NOT turned_away[r.request] AND request_keys[r.request] IS NOT NULL
                UNION ALL
                SELECT a.request, a.place, 'external', requests + a.place,
                    a.external_id COLLATE "C", a.is_leg, NULL, NULL
                FROM asked AS a
                WHERE a.external_id IS NOT NULL
                UNION ALL
                SELECT a.request, a.place, 'target', requests + cardinality(owners) + a.place,
                    a.target::text COLLATE "C", a.is_leg, NULL, NULL
                FROM asked AS a
                WHERE a.target IS NOT NULL
                UNION ALL
                SELECT a.request, a.place, 'hold', requests + 2 * cardinality(owners) + a.place,
                    a.hold::text COLLATE "C", a.is_leg, a.amount_minor, a.event_type
                FROM asked AS a
                WHERE a.hold IS NOT NULL
            ),
            found AS MATERIALIZED (
                SELECT c.request, c.place, c.kind, c.claimed, c.is_leg, c.amount_minor, c.event_type,
                    min(c.number) OVER same AS thing,
                    count(*) OVER same > 1 AS contested,
                    x.event_id AS external_event_id,
                    v.event_id AS reversal_event_id,
                    e.event_id AS earlier_event_id,
                    e.amount_minor AS earlier_amount_minor,
                    e.held_minor AS earlier_held_minor,
                    e.transaction_id AS earlier_transaction_id,
                    h.hold_id,
                    h.settled_event_id,
                    h.expires_at
                FROM claims AS c
                LEFT JOIN LATERAL (
                    SELECT * FROM external_ids AS x
                    WHERE x.external_id = CASE c.kind WHEN 'external' THEN c.claimed END
                    OFFSET 0
                ) AS x ON true
                LEFT JOIN LATERAL (
                    SELECT * FROM reversals AS v
                    WHERE v.reversed_event_id = CASE c.kind WHEN 'target' THEN c.claimed::uuid END
                    OFFSET 0
                ) AS v ON true
                LEFT JOIN LATERAL (
                    SELECT * FROM holds AS h
                    WHERE h.hold_id = CASE c.kind WHEN 'hold' THEN c.claimed::uuid END
                    OFFSET 0
                ) AS h ON true
                LEFT JOIN LATERAL (
                    SELECT * FROM ledger_events AS e
                    WHERE e.event_id
                        = CASE WHEN c.kind IN ('target', 'hold') THEN c.claimed::uuid END
                    OFFSET 0
                ) AS e ON true
                WINDOW same AS (PARTITION BY c.kind, c.claimed)
            ),
            judged AS (
                SELECT f.request, 1 AS turn, f.place, f.kind, f.claimed, f.thing, f.contested,
                    coalesce(
                        f.external_event_id, f.reversal_event_id, f.settled_event_id,
                        CASE WHEN NOT f.is_leg THEN f.earlier_transaction_id END
                    ) AS conflicting,
                    CASE
                        WHEN f.external_event_id IS NOT NULL THEN 'duplicate_external_id'
                        WHEN f.kind = 'target' THEN CASE
                            WHEN f.earlier_event_id IS NULL THEN 'event_not_found'
                            WHEN f.reversal_event_id IS NOT NULL THEN 'already_reversed'
                            WHEN f.earlier_transaction_id IS NOT NULL AND NOT f.is_leg
                                THEN 'transaction_leg'
                            WHEN f.earlier_amount_minor IN (0, -9223372036854775808)
                                THEN 'not_reversible'
                        END
                        WHEN f.kind = 'hold' THEN CASE
                            WHEN f.hold_id IS NULL OR f.earlier_event_id IS NULL
                                THEN 'hold_not_found'
                            WHEN f.settled_event_id IS NOT NULL
                                OR (f.expires_at <= instant AND f.event_type <> 'HOLD_EXPIRY')
                                THEN 'hold_not_pending'
                            WHEN -f.amount_minor > f.earlier_held_minor THEN 'hold_exceeded'
                        END
                    END AS refusal,
                    CASE f.kind
                        WHEN 'external' THEN 'duplicate_external_id'
                        WHEN 'target' THEN 'already_reversed'
                        WHEN 'hold' THEN 'hold_not_pending'
                    END AS refusal_if_held,
                    NULL::numeric AS change
                FROM found AS f
                WHERE f.contested OR f.kind <> 'key'
            ),
            ruled AS (
                SELECT a.request, a.place,
                    CASE
                        WHEN t.event_type IS NULL THEN 'event_type_unknown' ELSE 'event_type_sign'
                    END AS refusal
                FROM asked AS a
                LEFT JOIN LATERAL (
                    SELECT * FROM event_types AS t WHERE t.event_type = a.event_type
                    OFFSET 0
                ) AS t ON true
                WHERE settings.with_event_types
                    AND a.target IS NULL AND a.hold IS NULL AND a.held IS NULL
                    AND CASE
                        WHEN t.event_type IS NULL THEN settings.event_types_closed
                        WHEN t.sign = 'positive' THEN a.amount_minor < 0
                        WHEN t.sign = 'negative' THEN a.amount_minor > 0
                        ELSE false
                    END
                UNION ALL
                SELECT a.request, a.place, 'hold_expiry_past' FROM asked AS a
                WHERE a.hold_expiry <= instant
            ),
            unbalanced AS (
                SELECT DISTINCT u.request FROM (
                    SELECT a.request FROM asked AS a
                    WHERE a.is_leg
                    GROUP BY a.request, a.currency
                    HAVING sum(a.amount_minor) <> 0
                ) AS u
            ),
            limited AS MATERIALIZED (
                SELECT c.request, c.first_place, c.account_id, c.currency, c.change,
                    l.min_balance_minor,
                    dense_rank() OVER (ORDER BY c.account_id COLLATE "C", c.currency)::integer
                        AS thing
                FROM (
                    SELECT a.request, a.account_id, a.currency,
                        sum(a.amount_minor - coalesce(a.held, 0)) AS change,
                        min(a.place) FILTER (WHERE a.amount_minor < coalesce(a.held, 0))
                            AS first_place
                    FROM asked AS a
                    WHERE settings.with_account_limits
                    GROUP BY a.request, a.account_id, a.currency
                ) AS c
                CROSS JOIN LATERAL (
                    SELECT * FROM account_limits AS l
                    WHERE l.account_id = c.account_id AND l.currency = c.currency::char(3)
                    OFFSET 0
                ) AS l
            ),
            -- State and tail are read in one snapshot and meet exactly at the checkpoint.
            rooms AS (
                SELECT l.thing,
                    coalesce(b.current_balance_minor - b.held_minor, 0) + coalesce(t.change, 0)
                        - l.min_balance_minor AS room
                FROM (
                    SELECT DISTINCT thing, account_id, currency, min_balance_minor FROM limited
                ) AS l
                LEFT JOIN LATERAL (
                    SELECT * FROM account_balances AS b
                    WHERE b.account_id = l.account_id AND b.currency = l.currency::char(3)
                    OFFSET 0
                ) AS b ON true
                CROSS JOIN LATERAL (
                    SELECT sum(e.amount_minor - coalesce(e.held_minor, 0)) AS change
                    FROM ledger_events AS e
                    WHERE e.account_id = l.account_id
                        AND e.seq > (SELECT c.last_seq FROM projection_checkpoint AS c)
                        AND e.currency = l.currency::char(3)
                    OFFSET 0
                ) AS t
            )
            SELECT 0 AS request, 0 AS turn, 0 AS place, 'room' AS kind, NULL AS claimed, r.thing,
                NULL::boolean AS contested, NULL::uuid AS conflicting, NULL AS refusal,
                NULL AS refusal_if_held, r.room AS change
            FROM rooms AS r
            UNION ALL
            SELECT * FROM judged AS j WHERE j.contested OR j.refusal IS NOT NULL
            UNION ALL
            SELECT r.request, 1, r.place, 'rule', NULL, NULL, NULL, NULL, r.refusal, NULL, NULL
            FROM ruled AS r
            UNION ALL
            SELECT u.request, 2, NULL, 'rule', NULL, NULL, NULL, NULL, 'unbalanced', NULL, NULL
            FROM unbalanced AS u
            UNION ALL
            SELECT l.request, 3, l.first_place, 'take', NULL, l.thing, NULL, NULL,
                'insufficient_funds', NULL, l.change
            FROM limited AS l
            ORDER BY 1, 2, 3, 4
        LOOP
            IF claim.kind = 'room' THEN
                room[claim.thing] := claim.change;
                CONTINUE;
            END IF;
            CONTINUE WHEN turned_away[claim.request];

            IF claim.kind = 'take' THEN
                IF taken_from IS NULL OR taken_from[1] <> claim.request THEN
                    taken_from := ARRAY[claim.request];
                    taken := ARRAY[0];
                END IF;
                -- What adds is never refused, however low the account has been taken before.
                IF claim.change >= 0 OR room[claim.thing] + claim.change >= 0 THEN
                    room[claim.thing] := room[claim.thing] + claim.change;
                    taken_from := taken_from || claim.thing;
                    taken := taken || claim.change;
                    CONTINUE;
                END IF;
                FOR i IN 2 .. cardinality(taken) LOOP
                    room[taken_from[i]] := room[taken_from[i]] - taken[i];
                END LOOP;
                holder := NULL;
            ELSE
                -- Who was turned away holds nothing.
                holder := holders[claim.thing];
                IF turned_away[holder] THEN
                    holder := NULL;
                END IF;
                IF holder IS NULL AND claim.refusal IS NULL THEN
                    holders[claim.thing] := claim.request;
                    CONTINUE;
                END IF;
            END IF;

            turned_away[claim.request] := true;
            IF holder IS NULL OR holder = claim.request THEN
                request := claim.request;
                outcome := CASE
                    WHEN holder IS NULL THEN claim.refusal ELSE claim.refusal_if_held
                END;
                conflicting_id := CASE WHEN holder IS NULL THEN claim.conflicting END;
                place := claim.place;
                RETURN NEXT;
            ELSIF claim.kind = 'key' THEN
                waiting := waiting || claim.request;
            ELSE
                -- Which event it is that stands against it will be known in a moment.
                late_requests := late_requests || claim.request;
                late_places := late_places || claim.place;
                late_outcomes := late_outcomes || claim.refusal_if_held;
                late_claims := late_claims || claim.claimed;
            END IF;
        END LOOP;
    END IF;

    IF true = ANY (turned_away) THEN
        SELECT array_agg(a.request ORDER BY a.place),
            array_agg(a.account_id ORDER BY a.place),
            array_agg(a.transaction_time ORDER BY a.place),
            array_agg(a.event_type ORDER BY a.place),
            array_agg(a.amount_minor ORDER BY a.place),
            array_agg(a.currency ORDER BY a.place),
            array_agg(a.target ORDER BY a.place),
            array_agg(a.external_id ORDER BY a.place),
            array_agg(a.metadata ORDER BY a.place),
            array_agg(a.hold ORDER BY a.place),
            array_agg(a.held ORDER BY a.place),
            array_agg(a.hold_expiry ORDER BY a.place)
        INTO owners, account_ids, transaction_times, event_types, amounts_minor, currencies,
            reverses_event_ids, external_ids, metadata, hold_ids, held_minor, hold_expiries
        FROM unnest(
            owners, account_ids, transaction_times, event_types, amounts_minor, currencies,
            reverses_event_ids, external_ids, metadata, hold_ids, held_minor, hold_expiries
        ) WITH ORDINALITY AS a (
            request, account_id, transaction_time, event_type, amount_minor, currency,
            target, external_id, metadata, hold, held, hold_expiry, place
        )
        WHERE NOT turned_away[a.request];
    END IF;

    new_ids := ARRAY(
        SELECT uuid_v7(floor(extract(EPOCH FROM instant) * 1000)::bigint, head.last_seq + n.place)
        FROM generate_series(1, cardinality(owners)) AS n (place)
    );
    IF with_transactions THEN
        transaction_ids := ARRAY(
            SELECT CASE WHEN request_transactions[a.request] = 'true'
                THEN new_ids[min(a.place) OVER (PARTITION BY a.request)] END
            FROM unnest(owners) WITH ORDINALITY AS a (request, place)
            ORDER BY a.place
        );
    END IF;
    IF with_holds THEN
        hold_ids := ARRAY(
            SELECT CASE WHEN a.held::bigint > 0 THEN new_ids[a.place]::text ELSE a.hold END
            FROM unnest(hold_ids, held_minor) WITH ORDINALITY AS a (hold, held, place)
            ORDER BY a.place
        );
    END IF;

    RETURN QUERY
    WITH asked AS MATERIALIZED (
        SELECT a.place, a.event_id, a.account_id, a.event_type, a.transaction_id, a.external_id,
            head.last_seq + a.place AS seq,
            coalesce(a.transaction_time::timestamptz, instant) AS transaction_time,
            a.amount_minor::bigint AS amount_minor, a.currency::char(3) AS currency,
            a.target::uuid AS target, a.metadata::jsonb AS metadata, a.hold::uuid AS hold,
            a.held::bigint AS held, a.hold_expiry::timestamptz AS hold_expiry
        FROM unnest(
            new_ids, account_ids, transaction_times, event_types, amounts_minor, currencies,
            transaction_ids, reverses_event_ids, external_ids, metadata, hold_ids, held_minor,
            hold_expiries
        ) WITH ORDINALITY AS a (
            event_id, account_id, transaction_time, event_type, amount_minor, currency,
            transaction_id, target, external_id, metadata, hold, held,
            hold_expiry, place
        )
    ),
    written AS MATERIALIZED (
        SELECT a.*, chain(
            head.last_hash,
            event_bytes(
                a.seq, a.event_id, a.account_id, a.transaction_time, instant, a.event_type,
                a.amount_minor, a.currency, a.transaction_id, a.target, a.external_id, a.metadata,
                a.hold, a.held, a.hold_expiry
            )
        ) OVER (ROWS UNBOUNDED PRECEDING) AS hash
        FROM asked AS a
    ),
    events AS (
        INSERT INTO ledger_events (
            event_id, seq, account_id, transaction_time, recorded_at, event_type, amount_minor,
            currency, transaction_id, reverses_event_id, external_id, metadata, hash, hold_id,
            held_minor, hold_expires_at
        )
        SELECT w.event_id, w.seq, w.account_id, w.transaction_time, instant, w.event_type,
            w.amount_minor, w.currency, w.transaction_id, w.target, w.external_id, w.metadata,
            w.hash, w.hold, w.held, w.hold_expiry
        FROM written AS w
    ),
    named AS (
        INSERT INTO external_ids (external_id, event_id)
        SELECT w.external_id, w.event_id FROM written AS w WHERE w.external_id IS NOT NULL
    ),
    remembered AS (
        INSERT INTO idempotency_keys AS k (
            idempotency_key, fingerprint, first_event_id, last_event_id, expires_at
        )
        SELECT request_keys[r.request], request_fingerprints[r.request],
            new_ids[min(r.place)], new_ids[max(r.place)],
            instant + settings.idempotency_retention
        FROM unnest(owners) WITH ORDINALITY AS r (request, place)
        WHERE request_keys[r.request] IS NOT NULL
        GROUP BY r.request
        -- Only an expired key can stand in the way here, and it makes room.
        ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO UPDATE
        SET fingerprint = excluded.fingerprint,
            first_event_id = excluded.first_event_id,
            last_event_id = excluded.last_event_id,
            expires_at = excluded.expires_at
    ),
    advanced AS (
        UPDATE ledger_head AS h
        SET last_seq = w.seq,
            last_event_id = w.event_id,
            last_recorded_at = instant,
            last_hash = w.hash
        FROM (SELECT w.seq, w.event_id, w.hash FROM written AS w ORDER BY w.place DESC LIMIT 1) AS w
    )
    SELECT 0, 'appended', NULL::uuid, NULL::integer, start_seq + 1, instant,
        string_agg(uuid_send(w.event_id), ''), string_agg(w.hash, ''),
        coalesce(max(w.seq), head.last_seq),
        coalesce(new_ids[cardinality(owners)], head.last_event_id),
        coalesce((array_agg(w.hash))[cardinality(owners)], head.last_hash)
    FROM written AS w;

    IF with_targets THEN
        INSERT INTO reversals (reversed_event_id, event_id)
        SELECT a.target::uuid, a.event_id
        FROM unnest(new_ids, reverses_event_ids) AS a (event_id, target)
        WHERE a.target IS NOT NULL;
    END IF;
    IF with_holds THEN
        PERFORM note_holds(new_ids, hold_ids, hold_expiries);
    END IF;

    -- Refused for what has been written just now.
    IF late_requests IS NOT NULL THEN
        FOR request, outcome, place, conflicting_id IN
            SELECT l.request, l.outcome, l.place,
                CASE l.outcome
                    WHEN 'duplicate_external_id' THEN (
                        SELECT x.event_id FROM external_ids AS x WHERE x.external_id = l.claimed
                    )
                    WHEN 'already_reversed' THEN (
                        SELECT v.event_id FROM reversals AS v
                        WHERE v.reversed_event_id = l.claimed::uuid
                    )
                    ELSE (
                        SELECT h.settled_event_id FROM holds AS h WHERE h.hold_id = l.claimed::uuid
                    )
                END
            FROM unnest(late_requests, late_outcomes, late_places, late_claims)
            AS l (request, outcome, place, claimed)
        LOOP
            RETURN NEXT;
        END LOOP;
    END IF;
    -- Whoever waited for a key of this call has been answered by it.
    IF waiting IS NOT NULL THEN
        RETURN QUERY
        SELECT k.request, k.outcome, NULL::uuid, NULL::integer, NULL::bigint, NULL::timestamptz,
            k.event_ids, NULL::bytea, NULL::bigint, NULL::uuid, NULL::bytea
        FROM known_requests(request_keys, request_fingerprints, waiting) AS k;
    END IF;
END
$$;
COMMENT ON FUNCTION append IS
'Appends the events of many requests, each all or none, and answers for each request.';
