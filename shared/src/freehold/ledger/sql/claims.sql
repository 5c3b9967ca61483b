-- Claims: what only one request can have. Requests claim idempotency keys, external ids, events to
-- reverse and holds to settle.

CREATE OR REPLACE FUNCTION refused_claims(asked addition[], clock timestamptz) RETURNS answer[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN ARRAY(
        SELECT (
            j.request, j.index, j.outcome, j.conflicting_id, NULL, NULL, j.conflicting_id,
            j.conflicting_id, NULL
        )::answer
        FROM (
            SELECT
                a.request,
                a.index,
                CASE
                    WHEN a.external_id IS NOT NULL THEN
                        CASE
                            WHEN a.repeated OR x.event_id IS NOT NULL THEN 'duplicate_external_id'
                        END
                    WHEN a.account_id IS NULL THEN
                        CASE
                            WHEN a.hold_id IS NOT NULL THEN 'hold_not_found'
                            WHEN a.leg IS NULL THEN 'event_not_found'
                            ELSE 'transaction_not_found'
                        END
                    WHEN a.hold_id IS NULL THEN
                        CASE
                            WHEN a.repeated OR v.event_id IS NOT NULL THEN 'already_reversed'
                            WHEN e.transaction_id IS NOT NULL AND a.leg IS NULL
                                THEN 'transaction_leg'
                            WHEN e.amount_minor IN (0, -9223372036854775808) THEN 'not_reversible'
                            WHEN a.transaction_time < e.transaction_time THEN 'predates_original'
                        END
                    WHEN h.hold_id IS NULL THEN 'hold_not_found'
                    WHEN a.repeated OR h.settled_event_id IS NOT NULL OR h.expires_at <= clock
                        THEN 'hold_not_pending'
                    WHEN -a.amount_minor > e.held_minor THEN 'hold_exceeded'
                    WHEN a.transaction_time < e.transaction_time THEN 'predates_original'
                END AS outcome,
                CASE WHEN NOT a.repeated AND a.account_id IS NOT NULL THEN
                    coalesce(
                        x.event_id, v.event_id, h.settled_event_id,
                        CASE WHEN a.leg IS NULL THEN e.transaction_id END
                    )
                END AS conflicting_id
            FROM (
                SELECT
                    *,
                    row_number() OVER (
                        PARTITION BY request, external_id, reverses_event_id, hold_id
                        ORDER BY index
                    ) > 1 AS repeated
                FROM unnest(asked)
                WHERE coalesce(external_id, reverses_event_id::text, hold_id::text) IS NOT NULL
            ) AS a
            LEFT JOIN LATERAL (
                SELECT * FROM external_ids AS x
                WHERE x.external_id = a.external_id
                OFFSET 0
            ) AS x ON true
            LEFT JOIN LATERAL (
                SELECT * FROM reversals AS v
                WHERE v.reversed_event_id = a.reverses_event_id
                OFFSET 0
            ) AS v ON true
            LEFT JOIN LATERAL (
                SELECT * FROM holds AS h
                WHERE h.hold_id = a.hold_id
                OFFSET 0
            ) AS h ON true
            LEFT JOIN LATERAL (
                SELECT * FROM ledger_events AS e
                WHERE e.event_id = coalesce(a.reverses_event_id, a.hold_id)
                OFFSET 0
            ) AS e ON true
        ) AS j
        WHERE j.outcome IS NOT NULL
    );
END
$$;
COMMENT ON FUNCTION refused_claims IS
'Refuses claims that the ledger as it stands, or an earlier addition of the request, rules out.';

CREATE OR REPLACE FUNCTION claimed(asked addition)
RETURNS TABLE (claim text, index integer, outcome text)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT c.*
    FROM (
        VALUES ('key ' || asked.key, 0, NULL),
        ('external id ' || asked.external_id, asked.index, 'duplicate_external_id'),
        (
            -- What does not exist cannot be claimed.
            CASE WHEN asked.account_id IS NOT NULL THEN 'event ' || asked.reverses_event_id END,
            asked.index, 'already_reversed'
        ),
        ('hold ' || asked.hold_id, asked.index, 'hold_not_pending')
    ) AS c (claim, index, outcome)
    WHERE c.claim IS NOT NULL
$$;
COMMENT ON FUNCTION claimed IS
'What an addition claims, and the outcome of a later request that claims the same.';

CREATE OR REPLACE FUNCTION are_contested(asked addition[], has traits) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF NOT has.many THEN
        RETURN false;
    END IF;
    IF has.claims THEN
        RETURN EXISTS (
            SELECT FROM unnest(asked) AS a
            CROSS JOIN LATERAL claimed(a) AS c
            GROUP BY c.claim
            HAVING min(a.request) < max(a.request)
        );
    END IF;
    RETURN EXISTS (
        SELECT FROM unnest(asked) AS a
        WHERE a.key IS NOT NULL
        GROUP BY a.key
        HAVING count(*) > 1
    );
END
$$;
COMMENT ON FUNCTION are_contested IS 'Whether two requests of the call claim the same.';
