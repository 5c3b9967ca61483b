-- The proof: every event's bytes are hashed after the hash of the event before it. The layout is
-- written down for everyone in shared/README.md ("The hash chain").

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
    metadata jsonb
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
        || convert_to(metadata::text, 'UTF8')
$$;
COMMENT ON FUNCTION event_bytes IS 'The canonical bytes of an event, unambiguous for any values.';

CREATE FUNCTION chain_step(link bytea, start bytea, bytes bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN sha256(coalesce(link, start) || bytes);
END
$$;

-- Used as a window function over events in seq order: each row gets the hash that ends at it.
CREATE AGGREGATE chain (start bytea, bytes bytea)(
    sfunc = chain_step,
    stype = bytea
);

CREATE FUNCTION verify(
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
AS $$
#variable_conflict use_column
DECLARE
    start_seq CONSTANT bigint := greatest(coalesce(verify.from_seq, 1), 1);
    stop_seq bigint;
    before ledger_events%ROWTYPE;
    checked_last record;
BEGIN
    SELECT h.last_seq, h.last_hash INTO verify.head_seq, verify.head_hash FROM ledger_head AS h;
    stop_seq := least(coalesce(verify.to_seq, verify.head_seq), verify.head_seq);
    SELECT e.* INTO before FROM ledger_events AS e WHERE e.seq = start_seq - 1;

    -- Each hash is recomputed from the stored hash before it: with the first and the last pinned,
    -- that proves the whole chain, and needs no loop.
    WITH checked AS (
        SELECT
            e.seq,
            CASE
                WHEN e.seq <> coalesce(lag(e.seq) OVER in_order, start_seq - 1) + 1
                    THEN 'an event is missing, or out of order, before this one'
                WHEN e.hash <> sha256(
                    coalesce(
                        lag(e.hash) OVER in_order, before.hash, decode(repeat('00', 32), 'hex')
                    ) || event_bytes(
                        e.seq, e.event_id, e.account_id, e.transaction_time, e.recorded_at,
                        e.event_type, e.amount_minor, e.currency, e.transaction_id,
                        e.reverses_event_id, e.external_id, e.metadata
                    )
                ) THEN 'the hash does not match the event and the hash before it'
            END AS fault
        FROM ledger_events AS e
        WHERE e.seq >= start_seq
            AND (e.seq <= stop_seq OR verify.to_seq IS NULL)
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

    IF verify.reason IS NULL AND start_seq > 1 AND before.seq IS NULL AND stop_seq >= start_seq THEN
        verify.first_bad_seq := start_seq - 1;
        verify.reason := 'the event before the range is missing';
    ELSIF verify.reason IS NULL
        AND coalesce(checked_last.last_seq, start_seq - 1) <> greatest(stop_seq, start_seq - 1)
    THEN
        verify.first_bad_seq := coalesce(checked_last.last_seq, start_seq - 1) + 1;
        verify.reason := 'the ledger does not end where its head says';
    ELSIF verify.reason IS NULL AND stop_seq = verify.head_seq AND stop_seq >= start_seq
        AND NOT EXISTS (
            SELECT FROM ledger_events AS e
            WHERE e.seq = verify.head_seq AND e.hash = verify.head_hash
        )
    THEN
        verify.first_bad_seq := verify.head_seq;
        verify.reason := 'the last hash is not the head''s';
    END IF;
    verify.ok := verify.reason IS NULL;
END
$$;
COMMENT ON FUNCTION verify IS
'Recomputes the hash chain over a range of seq (all of it by default) and names the first fault.';
