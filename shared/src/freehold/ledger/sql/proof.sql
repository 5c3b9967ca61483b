-- The proof: each hash covers an event's bytes and the hash of the event before it.
-- shared/README.md describes the layout for everyone ("The hash chain").
--
-- The bytes are the same in a database of any encoding and whatever a session is set to. A body in
-- BEGIN ATOMIC is parsed when the function is loaded, not when it is called.

CREATE OR REPLACE FUNCTION utf8_length(content text) RETURNS integer
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE
        -- No conversion where none is needed.
        WHEN getdatabaseencoding() = 'UTF8' THEN octet_length(content)
        ELSE octet_length(convert_to(content, 'UTF8'))
    END;
END;
COMMENT ON FUNCTION utf8_length IS 'The length of a text in bytes of UTF-8.';

CREATE OR REPLACE FUNCTION canonical_json(document jsonb) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN CASE jsonb_typeof(document)
        WHEN 'object' THEN (
            SELECT '{' || coalesce(
                string_agg(
                    to_json(m.name)::text || ': ' || canonical_json(m.value), ', '
                    ORDER BY utf8_length(m.name), convert_to(m.name, 'UTF8')
                ), ''
            ) || '}'
            FROM jsonb_each(document) AS m (name, value)
        )
        WHEN 'array' THEN (
            SELECT '[' || coalesce(string_agg(canonical_json(e.value), ', ' ORDER BY e.position), '')
                || ']'
            FROM jsonb_array_elements(document) WITH ORDINALITY AS e (value, position)
        )
        ELSE document::text
    END;
END
$$;
COMMENT ON FUNCTION canonical_json IS
'A document as a database with the encoding UTF8 writes it: other encodings order keys by other '
'bytes.';

CREATE OR REPLACE FUNCTION event_bytes(
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
    refunds_event_id uuid,
    external_id text,
    metadata jsonb,
    hold_id uuid,
    held_minor bigint,
    hold_expires_at timestamptz
) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT
        int8send(seq)
        || uuid_send(event_id)
        || int8send((extract(EPOCH FROM transaction_time) * 1000000)::bigint)
        || int8send((extract(EPOCH FROM recorded_at) * 1000000)::bigint)
        || int8send(amount_minor)
        || convert_to(currency::text, 'UTF8')
        || coalesce(uuid_send(transaction_id), '\x00000000000000000000000000000000')
        || coalesce(uuid_send(reverses_event_id), '\x00000000000000000000000000000000')
        || coalesce(uuid_send(refunds_event_id), '\x00000000000000000000000000000000')
        || int4send(utf8_length(account_id)) || convert_to(account_id, 'UTF8')
        || int4send(utf8_length(event_type)) || convert_to(event_type, 'UTF8')
        || coalesce(
            int4send(utf8_length(external_id)) || convert_to(external_id, 'UTF8'), '\xffffffff'
        )
        || CASE
            WHEN hold_id IS NULL AND held_minor IS NULL AND hold_expires_at IS NULL THEN ''
            ELSE
                '\x00'::bytea || uuid_send(hold_id) || int8send(held_minor)
                || coalesce(
                    int8send((extract(EPOCH FROM hold_expires_at) * 1000000)::bigint),
                    '\x7fffffffffffffff'
                )
        END
        || convert_to(
            CASE
                WHEN getdatabaseencoding() = 'UTF8' THEN metadata::text
                ELSE canonical_json(metadata)
            END,
            'UTF8'
        );
END;
COMMENT ON FUNCTION event_bytes IS 'The canonical bytes of an event, unambiguous for any values.';

CREATE OR REPLACE FUNCTION chained(last_hash bytea, contents bytea[]) RETURNS bytea[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    content bytea;
    hashes bytea [] := '{}';
BEGIN
    FOREACH content IN ARRAY contents LOOP
        last_hash := sha256(last_hash || content);
        hashes := hashes || last_hash;
    END LOOP;
    RETURN hashes;
END
$$;
COMMENT ON FUNCTION chained IS
'The hash of each event, given the bytes of all in the order of seq and the hash before them.';

CREATE OR REPLACE FUNCTION check_chain(
    from_seq bigint,
    to_seq bigint,
    is_open boolean,
    OUT events_checked bigint,
    OUT first_bad_seq bigint,
    OUT reason text
)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
-- Planned for the range at hand: a short one by the primary key, the whole ledger as it lies.
SET plan_cache_mode TO force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    nothing CONSTANT bytea := decode(repeat('00', 32), 'hex');
    before ledger_events%ROWTYPE;
    last_in_range uuid;
    last_seq bigint;
BEGIN
    -- The range is one of event_id, as projections read it, so that no seq hides an event from it.
    -- Where two events have one seq, the second is in the range.
    IF check_chain.from_seq > 1 THEN
        SELECT e.* INTO before FROM ledger_events AS e
        WHERE e.seq = check_chain.from_seq - 1
        ORDER BY e.event_id::text COLLATE "C" LIMIT 1;
        IF before.event_id IS NULL AND (is_open OR check_chain.to_seq >= check_chain.from_seq) THEN
            check_chain.events_checked := 0;
            check_chain.first_bad_seq := check_chain.from_seq - 1;
            check_chain.reason := 'the event before the range is missing';
            RETURN;
        END IF;
    END IF;
    IF NOT is_open THEN
        SELECT e.event_id INTO last_in_range FROM ledger_events AS e
        WHERE e.seq = check_chain.to_seq
        ORDER BY e.event_id::text COLLATE "C" DESC LIMIT 1;
    END IF;

    -- Each hash is recomputed from the stored hash before it. With the first and the last pinned,
    -- that proves the whole chain, and needs no loop. An event that cannot be hashed is a fault.
    WITH checked AS (
        SELECT
            e.seq,
            CASE
                WHEN e.seq IS DISTINCT FROM
                    coalesce(lag(e.seq) OVER in_order, check_chain.from_seq - 1) + 1
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
                            e.reverses_event_id, e.refunds_event_id, e.external_id, e.metadata,
                            e.hold_id, e.held_minor, e.hold_expires_at
                        )
                    ) THEN 'the hash does not match the event and the hash before it'
            END AS fault
        FROM ledger_events AS e
        WHERE (before.event_id IS NULL OR e.event_id > before.event_id)
            AND (
                is_open
                OR e.event_id <= last_in_range
                OR (last_in_range IS NULL AND e.seq <= check_chain.to_seq)
            )
        WINDOW in_order AS (ORDER BY e.event_id)
    )

    SELECT
        count(*),
        coalesce(max(c.seq), check_chain.from_seq - 1),
        min(c.seq) FILTER (WHERE c.fault IS NOT NULL),
        (array_agg(c.fault ORDER BY c.seq) FILTER (WHERE c.fault IS NOT NULL))[1]
    INTO check_chain.events_checked, last_seq, check_chain.first_bad_seq, check_chain.reason
    FROM checked AS c;

    IF check_chain.reason IS NULL
        AND last_seq <> greatest(check_chain.to_seq, check_chain.from_seq - 1)
    THEN
        check_chain.first_bad_seq := least(last_seq, check_chain.to_seq) + 1;
        check_chain.reason := CASE
            WHEN is_open THEN 'the ledger does not end where its head says'
            ELSE 'the range ends too early'
        END;
    END IF;
END
$$;
COMMENT ON FUNCTION check_chain IS
'Names the first fault of the chain from one seq to another. Nothing may follow an open range.';

CREATE OR REPLACE FUNCTION check_head(head ledger_head) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    last ledger_events%ROWTYPE;
BEGIN
    SELECT e.* INTO last FROM ledger_events AS e ORDER BY e.event_id DESC LIMIT 1;
    RETURN CASE
        WHEN head.last_hash <> coalesce(last.hash, decode(repeat('00', 32), 'hex'))
            THEN 'the last hash is not the head''s'
        WHEN head.last_event_id <> coalesce(last.event_id, '00000000-0000-0000-0000-000000000000')
            THEN 'the last event''s id is not the head''s'
        WHEN head.last_recorded_at <> coalesce(last.recorded_at, '1970-01-01 00:00:00+00')
            THEN 'the last event''s time is not the head''s'
    END;
END
$$;
COMMENT ON FUNCTION check_head IS 'How a head differs from the last event; null where it does not.';

CREATE OR REPLACE FUNCTION check_unique(OUT first_bad_seq bigint, OUT reason text)
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $$
    SELECT coalesce(f.seq, e.seq), f.fault
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
            SELECT hold_id, settled_event_id, NULL FROM holds WHERE settled_event_id IS NOT NULL
        ) AS h
            ON h.hold_id = e.hold_id AND h.event_id = e.event_id
        WHERE e.seq IS NULL OR h.event_id IS NULL
            OR h.expires_at IS DISTINCT FROM e.hold_expires_at
    ) AS f
    LEFT JOIN ledger_events AS e ON e.event_id = f.event_id
    ORDER BY 1 NULLS LAST
    LIMIT 1
$$;
COMMENT ON FUNCTION check_unique IS
'The first event on which external_ids, reversals or holds disagree with the events, if any.';

CREATE OR REPLACE FUNCTION verify(
    from_seq bigint DEFAULT 1,
    to_seq bigint DEFAULT NULL,
    OUT ok boolean,
    OUT events_checked bigint,
    OUT first_bad_seq bigint,
    OUT reason text,
    OUT head_seq bigint,
    OUT head_hash bytea
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    start_seq CONSTANT bigint := greatest(coalesce(verify.from_seq, 1), 1);
    head ledger_head%ROWTYPE;
    is_open boolean;
BEGIN
    SELECT h.* INTO head FROM ledger_head AS h;
    verify.head_seq := head.last_seq;
    verify.head_hash := head.last_hash;
    is_open := coalesce(verify.to_seq >= head.last_seq, true);

    SELECT c.events_checked, c.first_bad_seq, c.reason
    INTO verify.events_checked, verify.first_bad_seq, verify.reason
    FROM check_chain(
        start_seq, CASE WHEN is_open THEN head.last_seq ELSE verify.to_seq END, is_open
    ) AS c;
    IF verify.reason IS NULL AND is_open THEN
        verify.reason := check_head(head);
        verify.first_bad_seq := CASE WHEN verify.reason IS NOT NULL THEN head.last_seq END;
    END IF;
    IF verify.reason IS NULL AND is_open AND start_seq = 1 THEN
        SELECT u.first_bad_seq, u.reason INTO verify.first_bad_seq, verify.reason
        FROM check_unique() AS u;
    END IF;

    verify.ok := verify.reason IS NULL;
    IF NOT verify.ok AND getdatabaseencoding() NOT IN ('UTF8', 'SQL_ASCII') THEN
        verify.reason := format(
            '%s; the encoding %s lacks characters that the ledger may have: restore it into a'
            ' database with the encoding UTF8', verify.reason, getdatabaseencoding()
        );
    END IF;
END
$$;
COMMENT ON FUNCTION verify IS
'Recomputes the hash chain over a range of seq (all of it by default) and names the first fault. '
'Only an open range (to_seq null, or the last seq) is compared with the head, and only the whole '
'ledger also with external_ids, reversals and holds.';
