-- Refunds: events that give back a part of another event, or all of it.
--
-- An event, its refunds, and the reversals of any of these are one family. Its sum is what is left
-- of the event to refund or to reverse. No request takes more than that, so the sum never changes
-- its sign. That one rule keeps refunds within the event's amount, a reversed event from refunds, a
-- refunded event from a reversal of all of it, and frees what a reversed refund had given back.

CREATE OR REPLACE FUNCTION original_of(wanted_event_id uuid) RETURNS uuid
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    undone ledger_events%ROWTYPE;
BEGIN
    -- A reversal may be reversed itself, and that again.
    LOOP
        SELECT e.* INTO undone FROM ledger_events AS e WHERE e.event_id = wanted_event_id;
        EXIT WHEN undone.reverses_event_id IS NULL;
        wanted_event_id := undone.reverses_event_id;
    END LOOP;
    RETURN coalesce(undone.refunds_event_id, undone.event_id);
END
$$;
COMMENT ON FUNCTION original_of IS 'The event of whose family another one is.';

CREATE OR REPLACE FUNCTION family_of(original_id uuid)
RETURNS TABLE (member_id uuid, event_id uuid, amount_minor numeric)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE related AS (
        SELECT m.event_id AS member_id, m.event_id, m.amount_minor
        FROM (
            SELECT e.event_id, e.amount_minor::numeric AS amount_minor
            FROM ledger_events AS e
            WHERE e.event_id = original_id
            UNION ALL
            SELECT e.event_id, e.amount_minor
            FROM ledger_events AS e
            -- The second condition leaves out partitions from before the original.
            WHERE e.refunds_event_id = original_id AND e.event_id > original_id
        ) AS m
        UNION ALL
        SELECT r.member_id, v.event_id, -r.amount_minor
        FROM related AS r
        CROSS JOIN LATERAL (
            SELECT v.event_id FROM reversals AS v WHERE v.reversed_event_id = r.event_id
            OFFSET 0
        ) AS v
    )

    SELECT r.member_id, r.event_id, r.amount_minor FROM related AS r;
END
$$;
COMMENT ON FUNCTION family_of IS
'An event and its refunds, each a member with its reversal, the reversal of that, and so on.';

CREATE OR REPLACE FUNCTION refused_refunds(asked addition[]) RETURNS answer[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN ARRAY(
        SELECT (
            r.request, r.index, r.outcome, r.event_id, NULL, NULL, r.event_id, r.event_id, NULL
        )::answer
        FROM (
            SELECT a.request, a.index, e.event_id,
                CASE
                    WHEN e.event_id IS NULL THEN 'refunded_not_found'
                    WHEN e.refunds_event_id IS NOT NULL THEN 'refund_of_refund'
                    WHEN e.reverses_event_id IS NOT NULL THEN 'refund_of_reversal'
                    WHEN e.amount_minor = 0 THEN 'refund_of_hold'
                    WHEN e.account_id <> a.account_id THEN 'refund_account'
                    WHEN e.currency <> a.currency THEN 'refund_currency'
                    WHEN sign(e.amount_minor) = sign(a.amount_minor) THEN 'refund_sign'
                END AS outcome
            FROM unnest(asked) AS a
            LEFT JOIN LATERAL (
                SELECT * FROM ledger_events AS e
                WHERE e.event_id = a.refunds_event_id
                OFFSET 0
            ) AS e ON true
            WHERE a.refunds_event_id IS NOT NULL
        ) AS r
        WHERE r.outcome IS NOT NULL
    );
END
$$;
COMMENT ON FUNCTION refused_refunds IS
'Refuses refunds of what cannot be refunded, and refunds that do not fit their originals.';

CREATE OR REPLACE FUNCTION takings_of_originals(asked addition[])
RETURNS TABLE (request integer, index integer, is_refund boolean, event_id uuid, change numeric)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    -- Each original is looked up once, however many requests take from it.
    WITH targets AS MATERIALIZED (
        SELECT t.target_id, e.event_id, sign(e.amount_minor::numeric) AS amount_sign
        FROM (
            SELECT a.target_id, original_of(a.target_id) AS original_id
            FROM (
                SELECT DISTINCT coalesce(a.refunds_event_id, a.reverses_event_id) AS target_id
                FROM unnest(asked) AS a
            ) AS a
            WHERE a.target_id IS NOT NULL
            OFFSET 0
        ) AS t
        CROSS JOIN LATERAL (
            SELECT * FROM ledger_events AS e
            WHERE e.event_id = t.original_id
            OFFSET 0
        ) AS e
    )

    SELECT a.request, a.index, a.refunds_event_id IS NOT NULL, t.event_id,
        t.amount_sign * a.amount_minor
    FROM unnest(asked) AS a
    INNER JOIN targets AS t ON t.target_id = coalesce(a.refunds_event_id, a.reverses_event_id);
END
$$;
COMMENT ON FUNCTION takings_of_originals IS
'By how much each refund and reversal changes what is left of its family''s original: less than 0 '
'where it takes from it.';

CREATE OR REPLACE FUNCTION short_originals(asked addition[]) RETURNS shortage[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN ARRAY(
        SELECT (NULL, NULL, t.event_id, r.room)::shortage
        FROM (
            SELECT t.event_id, sum(least(t.change, 0)) AS taken
            FROM takings_of_originals(asked) AS t
            GROUP BY t.event_id
        ) AS t
        CROSS JOIN LATERAL (
            SELECT abs(sum(f.amount_minor)) AS room FROM family_of(t.event_id) AS f
        ) AS r
        WHERE t.taken < 0 AND r.room + t.taken < 0
    );
END
$$;
COMMENT ON FUNCTION short_originals IS
'The events of which a call takes more than is left, unless it adds to them or is refused in part.';

CREATE OR REPLACE FUNCTION undoing(
    wanted_event_id uuid,
    max_refunds integer,
    OUT reversed_by_event_id uuid,
    OUT refunded_minor numeric,
    OUT refunds json
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    SELECT v.event_id INTO undoing.reversed_by_event_id
    FROM reversals AS v WHERE v.reversed_event_id = undoing.wanted_event_id;

    SELECT
        abs(coalesce(sum(r.standing_minor), 0)),
        coalesce(
            json_agg(
                json_build_object(
                    'event_id', r.event_id, 'amount_minor', r.amount_minor,
                    'reversed_by_event_id', r.reversed_by_event_id
                )
                ORDER BY r.place
            ) FILTER (WHERE r.place <= undoing.max_refunds),
            '[]'
        )
    INTO undoing.refunded_minor, undoing.refunds
    FROM (
        SELECT
            f.member_id AS event_id,
            row_number() OVER (ORDER BY f.member_id) AS place,
            max(f.amount_minor) FILTER (WHERE f.event_id = f.member_id) AS amount_minor,
            sum(f.amount_minor) AS standing_minor,
            (
                SELECT v.event_id FROM reversals AS v WHERE v.reversed_event_id = f.member_id
            ) AS reversed_by_event_id
        FROM family_of(undoing.wanted_event_id) AS f
        WHERE f.member_id <> undoing.wanted_event_id
        GROUP BY f.member_id
    ) AS r;
END
$$;
COMMENT ON FUNCTION undoing IS
'What undoes an event: its reversal, how much of it refunds have given back (without those that '
'were reversed), and the first max_refunds refunds.';
