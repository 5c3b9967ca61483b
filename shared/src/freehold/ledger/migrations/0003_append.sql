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
    owners CONSTANT integer [] := event_requests;
    targets CONSTANT uuid [] := reverses_event_ids;
    with_external CONSTANT boolean := array_remove(external_ids, NULL) <> '{}';
    with_targets CONSTANT boolean := array_remove(reverses_event_ids, NULL) <> '{}';
    pending integer [] := ARRAY(SELECT generate_subscripts(request_keys, 1));
    wave integer [];
    settled integer [];
BEGIN
    -- The writer lock, held to commit: commit order is ledger order.
    SELECT h.* INTO head FROM ledger_head AS h FOR UPDATE;
    SELECT s.idempotency_retention INTO retention FROM ledger_settings AS s;
    -- A clock set back must not break the order of ids.
    instant := greatest(clock_timestamp(), head.last_recorded_at);
    milliseconds := floor(extract(EPOCH FROM instant) * 1000);

    -- Requests of one call that share a key, an external id or a reversal's target are decided one
    -- after the other, in waves; a call without such a clash, the usual one, is a single wave.
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
        END IF;

        -- Of requests that clash with each other, the first goes now and the others wait.
        wave := pending;
        IF cardinality(pending) > 1 THEN
            WITH claim (request, kind, claimed) AS (
                SELECT r.request, 'key', request_keys[r.request]
                FROM unnest(pending) AS r (request)
                WHERE request_keys[r.request] IS NOT NULL
                UNION ALL
                SELECT c.request, 'external', c.claimed
                FROM unnest(owners, external_ids) AS c (request, claimed)
                WHERE with_external AND c.claimed IS NOT NULL AND c.request = ANY (pending)
                UNION ALL
                SELECT c.request, 'target', c.claimed
                FROM unnest(owners, reverses_event_ids) AS c (request, claimed)
                WHERE with_targets AND c.claimed IS NOT NULL AND c.request = ANY (pending)
            ),
            ranked AS (
                SELECT claim.request,
                    claim.request > min(claim.request) OVER (PARTITION BY kind, claimed) AS waits
                FROM claim
            )
            SELECT ARRAY(
                SELECT r.request FROM unnest(pending) AS r (request)
                WHERE r.request NOT IN (SELECT ranked.request FROM ranked WHERE ranked.waits)
                ORDER BY r.request
            ) INTO wave;
            pending := ARRAY(
                SELECT r.request FROM unnest(pending) AS r (request)
                WHERE r.request <> ALL (wave) ORDER BY r.request
            );
        ELSE
            pending := '{}';
        END IF;

        -- Refuse what an earlier event stands against; one reason a request, the first.
        IF with_external OR with_targets THEN
            settled := '{}';
            FOR request, outcome, conflicting_event_id IN
                WITH asked AS (
                    SELECT a.request, a.place, a.external, a.target,
                        row_number() OVER (
                            PARTITION BY a.request, a.external ORDER BY a.place
                        ) AS external_use,
                        row_number() OVER (
                            PARTITION BY a.request, a.target ORDER BY a.place
                        ) AS target_use
                    FROM unnest(owners, external_ids, targets)
                    WITH ORDINALITY AS a (request, external, target, place)
                    WHERE a.request = ANY (wave)
                        AND (a.external IS NOT NULL OR a.target IS NOT NULL)
                ),
                found AS MATERIALIZED (
                    SELECT asked.*,
                        (
                            SELECT x.event_id FROM external_ids AS x
                            WHERE x.external_id = asked.external
                        ) AS external_event_id,
                        (
                            SELECT v.event_id FROM reversals AS v
                            WHERE v.reversed_event_id = asked.target
                        ) AS reversal_event_id,
                        (
                            SELECT e.amount_minor FROM ledger_events AS e
                            WHERE e.event_id = asked.target
                        ) AS target_amount_minor
                    FROM asked
                ),
                judged AS (
                    SELECT found.request, found.place,
                        coalesce(
                            found.external_event_id, found.reversal_event_id
                        ) AS conflicting,
                        CASE
                            WHEN found.external_event_id IS NOT NULL
                                OR (found.external IS NOT NULL AND found.external_use > 1)
                                THEN 'duplicate_external_id'
                            WHEN found.target IS NULL THEN NULL
                            WHEN found.target_amount_minor IS NULL THEN 'event_not_found'
                            WHEN found.reversal_event_id IS NOT NULL OR found.target_use > 1
                                THEN 'already_reversed'
                            WHEN found.target_amount_minor = -9223372036854775808
                                THEN 'not_reversible'
                        END AS refusal
                    FROM found
                )
                SELECT DISTINCT ON (judged.request)
                    judged.request, judged.refusal, judged.conflicting
                FROM judged
                WHERE judged.refusal IS NOT NULL
                ORDER BY judged.request, judged.place
            LOOP
                settled := settled || request;
                RETURN NEXT;
            END LOOP;
            IF settled <> '{}' THEN
                wave := ARRAY(
                    SELECT r.request FROM unnest(wave) AS r (request)
                    WHERE r.request <> ALL (settled)
                );
            END IF;
        END IF;

        CONTINUE WHEN wave = '{}';

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
