-- The judgement of a call's requests: which of them are written, and why the others are not.

CREATE OR REPLACE FUNCTION refused_types(
    asked addition[], settings ledger_settings, clock timestamptz
) RETURNS answer[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN ARRAY(
        SELECT (a.request, a.index, a.outcome, NULL, NULL, NULL, NULL, NULL, NULL)::answer
        FROM (
            SELECT a.request, a.index,
                CASE
                    WHEN a.held_minor IS NOT NULL THEN CASE
                        WHEN a.hold_expires_at <= clock THEN 'hold_expiry_past'
                    END
                    WHEN is_reserved(a.event_type) THEN 'event_type_reserved'
                    WHEN NOT settings.with_event_types THEN NULL
                    WHEN t.event_type IS NULL THEN CASE
                        WHEN settings.event_types_closed THEN 'event_type_unknown'
                    END
                    WHEN t.sign = 'positive' AND a.amount_minor < 0
                        OR t.sign = 'negative' AND a.amount_minor > 0 THEN 'event_type_sign'
                END AS outcome
            FROM unnest(asked) AS a
            LEFT JOIN LATERAL (
                SELECT * FROM event_types AS t WHERE t.event_type = a.event_type
                OFFSET 0
            ) AS t ON settings.with_event_types
            WHERE a.reverses_event_id IS NULL AND a.hold_id IS NULL
        ) AS a
        WHERE a.outcome IS NOT NULL
    );
END
$$;
COMMENT ON FUNCTION refused_types IS
'Refuses reserved types, types that the tenant''s rules forbid, and holds that expired already.';

CREATE OR REPLACE FUNCTION refused_transactions(asked addition[]) RETURNS answer[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN ARRAY(
        SELECT DISTINCT
            (a.request, NULL, 'unbalanced', NULL, NULL, NULL, NULL, NULL, NULL)::answer
        FROM unnest(asked) AS a
        WHERE a.leg IS NOT NULL
        GROUP BY a.request, a.currency
        HAVING sum(a.amount_minor) <> 0
    );
END
$$;
COMMENT ON FUNCTION refused_transactions IS
'Refuses transactions whose legs do not sum to zero in each currency.';

CREATE OR REPLACE FUNCTION without(asked addition[], answered answer[]) RETURNS addition[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF answered = '{}' THEN
        RETURN asked;
    END IF;
    RETURN ARRAY(
        SELECT a FROM unnest(asked) AS a
        WHERE a.request NOT IN (SELECT r.request FROM unnest(answered) AS r)
    );
END
$$;
COMMENT ON FUNCTION without IS 'The additions of requests that have no answer yet.';

CREATE OR REPLACE FUNCTION completed(asked addition[], clock timestamptz) RETURNS addition[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN ARRAY(
        SELECT (
            a.request, coalesce(l.leg, a.index), CASE WHEN l.leg > 1 THEN NULL ELSE a.key END,
            a.fingerprint, coalesce(l.legs, a.additions), coalesce(l.leg, a.leg),
            coalesce(e.account_id, a.account_id),
            -- The reversals of a transaction's legs have one time.
            coalesce(
                a.transaction_time,
                greatest(clock, max(e.transaction_time) OVER (PARTITION BY a.request))
            ),
            a.event_type,
            CASE
                -- The one amount without an opposite is refused as not_reversible.
                WHEN a.reverses_event_id IS NOT NULL
                    THEN -nullif(e.amount_minor, -9223372036854775808)
                ELSE coalesce(a.amount_minor, -e.held_minor)
            END,
            coalesce(e.currency, a.currency),
            a.external_id, a.metadata, coalesce(l.event_id, a.reverses_event_id),
            a.refunds_event_id, a.hold_id,
            CASE WHEN a.hold_id IS NULL THEN a.held_minor ELSE -e.held_minor END,
            a.hold_expires_at
        )::addition
        FROM unnest(asked) AS a
        LEFT JOIN LATERAL (
            SELECT l.event_id, row_number() OVER (ORDER BY l.seq) AS leg, count(*) OVER () AS legs
            FROM legs(a.reverses_event_id) AS l
            WHERE a.leg = 1
        ) AS l ON true
        LEFT JOIN LATERAL (
            SELECT * FROM ledger_events AS e
            WHERE e.event_id = CASE
                WHEN a.leg IS NULL THEN coalesce(a.reverses_event_id, a.hold_id)
                ELSE l.event_id
            END
            OFFSET 0
        ) AS e ON true
        ORDER BY a.request, a.index, l.leg
    );
END
$$;
COMMENT ON FUNCTION completed IS
'Additions with what reversals and settlements take from their originals, and a transaction''s '
'reversal as those of its legs. None is dated before its original.';

CREATE OR REPLACE FUNCTION takings(asked addition[], short shortage[]) RETURNS TABLE (
    request integer,
    turn integer,
    index integer,
    number integer,
    outcome text,
    conflicting_id uuid,
    event_id uuid,
    change numeric
)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT t.request, 3, min(t.index) FILTER (WHERE t.change < 0), s.ordinality::integer,
        CASE WHEN bool_or(t.is_refund) THEN 'refund_exceeds' ELSE 'already_refunded' END,
        s.event_id, s.event_id, sum(t.change)
    FROM takings_of_originals(asked) AS t
    INNER JOIN unnest(short) WITH ORDINALITY AS s USING (event_id)
    GROUP BY t.request, s.ordinality, s.event_id
    UNION ALL
    SELECT a.request, 4, min(a.index) FILTER (WHERE a.amount_minor < coalesce(a.held_minor, 0)),
        s.ordinality::integer, 'insufficient_funds', NULL,
        -- Of a reversal only the ledger knows the account: any original there names it.
        (array_agg(a.reverses_event_id))[1],
        sum(a.amount_minor - coalesce(a.held_minor, 0)::numeric)
    FROM unnest(asked) AS a
    INNER JOIN unnest(short) WITH ORDINALITY AS s USING (account_id, currency)
    GROUP BY a.request, s.ordinality;
END
$$;
COMMENT ON FUNCTION takings IS
'What each request takes from each thing that is short, or adds to it, with the number of the '
'shortage, and the outcome where there is too little.';

CREATE OR REPLACE FUNCTION judge_in_order(
    asked addition[], refused answer[], short shortage[]
) RETURNS answer[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    step record;
    judged integer := 0;
    is_refused boolean;
    holders integer [];
    holder_indexes integer [];
    rooms numeric [];
    rooms_before numeric [];
    answers answer [] := '{}';
    refused_requests integer [] := '{}';
BEGIN
    rooms := ARRAY(SELECT s.room FROM unnest(short) AS s);
    FOR step IN
        -- What a request claims in common with another, with a number for each claim.
        SELECT c.request, 1 AS turn, c.index, 'claim' AS kind, c.claim_number AS number,
            c.outcome, NULL::uuid AS conflicting_id, NULL::uuid AS event_id,
            NULL::numeric AS change
        FROM (
            SELECT
                a.request,
                c.index,
                c.outcome,
                dense_rank() OVER (ORDER BY c.claim COLLATE "C")::integer AS claim_number,
                min(a.request) OVER same < max(a.request) OVER same AS is_contested
            FROM unnest(asked) AS a
            CROSS JOIN LATERAL claimed(a) AS c
            WINDOW same AS (PARTITION BY c.claim COLLATE "C")
        ) AS c
        WHERE c.is_contested
        UNION ALL
        SELECT r.request, CASE WHEN r.index IS NULL THEN 2 ELSE 1 END, r.index, 'refusal', NULL,
            r.outcome, r.conflicting_id, r.first_event_id, NULL
        FROM unnest(refused) AS r
        UNION ALL
        SELECT t.request, t.turn, t.index, 'taking', t.number, t.outcome, t.conflicting_id,
            t.event_id, t.change
        FROM takings(asked, short) AS t
        ORDER BY request, turn, index, kind
    LOOP
        IF step.request <> judged THEN
            judged := step.request;
            is_refused := false;
            rooms_before := rooms;
        END IF;
        CONTINUE WHEN is_refused;

        IF step.kind = 'claim' THEN
            IF holders[step.number] IS NULL OR holders[step.number] = ANY (refused_requests) THEN
                holders[step.number] := judged;
                holder_indexes[step.number] := step.index;
            END IF;
            CONTINUE WHEN holders[step.number] = judged;
        ELSIF step.kind = 'taking' THEN
            -- A request that adds is never refused, however low the account was taken before.
            IF step.change >= 0 OR rooms[step.number] + step.change >= 0 THEN
                rooms[step.number] := rooms[step.number] + step.change;
                CONTINUE;
            END IF;
            rooms := rooms_before;
        END IF;
        is_refused := true;
        refused_requests := refused_requests || judged;
        answers := answers || (
            judged, nullif(step.index, 0), step.outcome, step.conflicting_id,
            CASE WHEN step.kind = 'claim' THEN holders[step.number] END,
            CASE WHEN step.kind = 'claim' THEN holder_indexes[step.number] END,
            step.event_id, step.event_id,
            CASE WHEN step.kind = 'taking' THEN rooms[step.number] END
        )::answer;
    END LOOP;
    RETURN answers;
END
$$;
COMMENT ON FUNCTION judge_in_order IS
'Judges requests one by one: those that claim the same as others, or take from what is short. '
'Those that are refused whatever the others do come as `refused`.';

CREATE OR REPLACE FUNCTION judge(
    asked addition[], has traits, settings ledger_settings, clock timestamptz
) RETURNS judgement
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    refused answer [] := '{}';
    accepted addition [];
    short shortage [] := '{}';
BEGIN
    IF has.originals THEN
        asked := completed(asked, clock);
    END IF;
    IF has.external_ids AND NOT has.claims AND cardinality(asked) > 1 THEN
        has.claims := EXISTS (
            SELECT FROM unnest(asked) AS a
            WHERE a.external_id IS NOT NULL
            GROUP BY a.external_id
            HAVING count(*) > 1
        );
    END IF;
    -- Refused by the ledger as it stands, whatever the other requests do.
    IF has.claims THEN
        refused := refused_claims(asked, clock);
    END IF;
    IF has.refunds THEN
        refused := refused || refused_refunds(asked);
    END IF;
    IF has.own_types OR settings.with_event_types THEN
        refused := refused || refused_types(asked, settings, clock);
    END IF;
    IF has.legs THEN
        refused := refused || refused_transactions(asked);
    END IF;
    IF refused <> '{}' THEN
        -- A request is refused for its first addition at fault, and there for a claim first.
        refused := ARRAY(
            SELECT DISTINCT ON (r.request)
                (
                    r.request, r.index, r.outcome, r.conflicting_id, NULL, NULL, r.first_event_id,
                    r.last_event_id, NULL
                )::answer
            FROM unnest(refused) WITH ORDINALITY AS r
            ORDER BY r.request, r.index, r.ordinality
        );
    END IF;
    accepted := without(asked, refused);

    IF has.refunds OR has.originals THEN
        short := short_originals(accepted);
    END IF;
    IF settings.with_account_limits THEN
        short := short || short_accounts(accepted);
    END IF;
    IF short <> '{}' OR are_contested(asked, has) THEN
        refused := judge_in_order(asked, refused, short);
        accepted := without(asked, refused);
    END IF;
    RETURN (accepted, refused);
END
$$;
COMMENT ON FUNCTION judge IS
'Says which requests are to be written and why the others are not, as if they came one by one.';

CREATE OR REPLACE FUNCTION late_answers(
    answers answer[],
    asked addition[],
    accepted addition[],
    new_ids bytea,
    clock timestamptz
) RETURNS answer[]
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN ARRAY(
        SELECT (
            r.request, r.index, r.outcome, coalesce(r.conflicting_id, n.event_id), NULL, NULL,
            coalesce(r.first_event_id, n.event_id), coalesce(r.last_event_id, n.event_id), r.room
        )::answer
        FROM unnest(answers) AS r
        LEFT JOIN (
            SELECT a.request, a.index, id_at(new_ids, a.ordinality) AS event_id
            FROM unnest(accepted) WITH ORDINALITY AS a
        ) AS n ON n.request = r.conflicting_request AND n.index = r.conflicting_index
        WHERE r.outcome IS NOT NULL
    ) || known_requests(
        ARRAY(
            SELECT a FROM unnest(asked) AS a
            WHERE a.request IN (SELECT r.request FROM unnest(answers) AS r WHERE r.outcome IS NULL)
        ),
        clock
    ) || ARRAY(
        SELECT (
            a.request, NULL, 'created', NULL, NULL, NULL, id_at(new_ids, min(a.ordinality)),
            id_at(new_ids, max(a.ordinality)), NULL
        )::answer
        FROM unnest(accepted) WITH ORDINALITY AS a
        GROUP BY a.request
        HAVING count(a.reverses_event_id) + count(a.hold_id) > 0
    );
END
$$;
COMMENT ON FUNCTION late_answers IS
'Completes answers by what has been written: the ids of events that stand against later requests, '
'what became of the keys that later requests have too, the events of reversals and settlements.';

CREATE OR REPLACE FUNCTION with_events(answers answer[]) RETURNS TABLE (
    request integer,
    index integer,
    outcome text,
    conflicting_id uuid,
    room numeric,
    event event_lines
)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT r.request, r.index, r.outcome, r.conflicting_id, r.room, e.event
    FROM unnest(answers) AS r
    LEFT JOIN LATERAL (
        SELECT s.event, s.seq
        FROM event_lines AS l
        CROSS JOIN LATERAL (
            SELECT l AS event, l.seq
            UNION ALL
            SELECT p, p.seq FROM event_lines AS p
            WHERE p.event_id = l.hold_id AND l.held_minor < 0 AND r.conflicting_id IS NULL
        ) AS s
        WHERE l.event_id BETWEEN r.first_event_id AND r.last_event_id
        OFFSET 0
    ) AS e ON true
    ORDER BY r.request, e.seq;
END
$$;
COMMENT ON FUNCTION with_events IS
'Answers with the events that the caller is to be shown, in the order of seq: a row for each. What '
'placed a hold comes before what has settled it.';
