-- Activity: what happened when, by transaction_time, in each currency and event type. project keeps
-- a sum for every quarter of an hour. The buckets that are asked for begin where a quarter does,
-- and so are sums of these. What lies beside whole quarters is read from the events.

CREATE OR REPLACE FUNCTION quarter_hour_of(instant timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
AS $$
    SELECT date_bin('15 minutes', instant, timestamptz '2000-01-01 00:00:00+00')
$$;
COMMENT ON FUNCTION quarter_hour_of IS 'When the quarter of an hour began that an instant is in.';

CREATE OR REPLACE FUNCTION replay_activity(through_event_id uuid) RETURNS SETOF activity_rollups
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $$
    SELECT quarter_hour_of(e.transaction_time), e.currency, e.event_type, count(*),
        coalesce(sum(e.amount_minor) FILTER (WHERE e.amount_minor > 0), 0),
        coalesce(-sum(e.amount_minor) FILTER (WHERE e.amount_minor < 0), 0)
    FROM ledger_events AS e
    WHERE e.event_id <= through_event_id
    GROUP BY quarter_hour_of(e.transaction_time), e.currency, e.event_type
$$;
COMMENT ON FUNCTION replay_activity IS
'The rollups as they would be if they were made anew from the ledger.';

CREATE OR REPLACE FUNCTION reconcile_activity()
RETURNS TABLE (quarter_hour timestamptz, currency text, event_type text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT coalesce(a.quarter_hour, r.quarter_hour), coalesce(a.currency, r.currency)::text,
        coalesce(a.event_type, r.event_type)
    FROM activity_rollups AS a
    FULL JOIN replay_activity(
        (SELECT c.last_ledger_event_id FROM projection_checkpoint AS c)
    ) AS r
        ON r.quarter_hour = a.quarter_hour AND r.currency = a.currency
        AND r.event_type = a.event_type
    WHERE (a.event_count, a.amount_in_minor, a.amount_out_minor)
        IS DISTINCT FROM (r.event_count, r.amount_in_minor, r.amount_out_minor)
    ORDER BY 1, 2, 3
$$;
COMMENT ON FUNCTION reconcile_activity IS
'The rollups that differ from the ledger up to the checkpoint: none, when all is well.';

CREATE OR REPLACE FUNCTION activity(
    boundaries timestamptz[],
    only_account_id text,
    account_prefix text,
    only_currency text,
    only_event_type text
)
RETURNS TABLE (
    bucket integer,
    currency text,
    event_type text,
    event_count bigint,
    amount_in_minor numeric,
    amount_out_minor numeric
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
-- Planned for the filters and the times at hand.
SET plan_cache_mode TO force_custom_plan
SET enable_seqscan TO off
SET jit TO off
AS $$
#variable_conflict use_column
DECLARE
    last CONSTANT integer := cardinality(boundaries);
    starts CONSTANT timestamptz := boundaries[1];
    ends CONSTANT timestamptz := boundaries[last];
    rolled_from timestamptz := quarter_hour_of(
        starts + interval '15 minutes' - interval '1 microsecond'
    );
    rolled_until timestamptz := quarter_hour_of(ends);
    projected CONSTANT uuid := (SELECT c.last_ledger_event_id FROM projection_checkpoint AS c);
BEGIN
    -- The rollups know no accounts, and no bucket that begins within a quarter.
    IF coalesce(only_account_id, account_prefix) IS NOT NULL OR rolled_from > rolled_until OR EXISTS (
        SELECT FROM unnest(boundaries[2 : last - 1]) AS b (instant)
        WHERE b.instant <> quarter_hour_of(b.instant)
    ) THEN
        rolled_from := ends;
        rolled_until := ends;
    END IF;

    RETURN QUERY
    SELECT width_bucket(part.at, boundaries), part.currency::text, part.event_type,
        sum(part.event_count)::bigint, sum(part.amount_in_minor), sum(part.amount_out_minor)
    FROM (
        SELECT r.quarter_hour AS at, r.currency, r.event_type, r.event_count, r.amount_in_minor,
            r.amount_out_minor
        FROM activity_rollups AS r
        WHERE r.quarter_hour >= rolled_from AND r.quarter_hour < rolled_until
        UNION ALL
        SELECT e.transaction_time, e.currency, e.event_type, 1,
            greatest(e.amount_minor, 0::numeric), greatest(-e.amount_minor::numeric, 0)
        FROM ledger_events AS e
        WHERE (only_account_id IS NULL OR e.account_id = only_account_id)
            AND (account_prefix IS NULL OR starts_with(e.account_id, account_prefix))
            AND (
                (
                    starts < rolled_from
                    AND e.transaction_time >= starts AND e.transaction_time < rolled_from
                )
                OR (
                    rolled_until < ends
                    AND e.transaction_time >= rolled_until AND e.transaction_time < ends
                )
                -- What is not projected yet.
                OR (
                    rolled_from < rolled_until
                    AND e.event_id > projected
                    AND e.transaction_time >= rolled_from AND e.transaction_time < rolled_until
                )
            )
    ) AS part
    WHERE (only_currency IS NULL OR part.currency = only_currency::char(3))
        AND (only_event_type IS NULL OR part.event_type = only_event_type)
    GROUP BY 1, part.currency, part.event_type
    ORDER BY 1, 2, 3;
END
$$;
COMMENT ON FUNCTION activity IS
'What happened between each boundary and the next, counted from 1: of all events that were '
'committed before the call, or of one account or those with a prefix.';

CREATE OR REPLACE FUNCTION activity_span(
    from_time timestamptz,
    to_time timestamptz,
    only_account_id text,
    account_prefix text,
    OUT first_time timestamptz,
    OUT last_time timestamptz
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
SET plan_cache_mode TO force_custom_plan
SET enable_seqscan TO off
SET jit TO off
AS $$
DECLARE
    projected CONSTANT uuid := (SELECT c.last_ledger_event_id FROM projection_checkpoint AS c);
    rolled CONSTANT boolean := coalesce(only_account_id, account_prefix) IS NULL;
    first_quarter timestamptz;
    last_quarter timestamptz;
BEGIN
    SELECT min(e.transaction_time), max(e.transaction_time)
    INTO activity_span.first_time, activity_span.last_time
    FROM ledger_events AS e
    WHERE e.transaction_time >= from_time AND e.transaction_time < to_time
        AND (NOT rolled OR e.event_id > projected)
        AND (only_account_id IS NULL OR e.account_id = only_account_id)
        AND (account_prefix IS NULL OR starts_with(e.account_id, account_prefix));
    IF rolled THEN
        SELECT min(r.quarter_hour), max(r.quarter_hour) INTO first_quarter, last_quarter
        FROM activity_rollups AS r
        WHERE r.quarter_hour >= quarter_hour_of(from_time) AND r.quarter_hour < to_time;
    END IF;
    IF first_quarter IS NOT NULL THEN
        activity_span.first_time := least(
            activity_span.first_time, greatest(first_quarter, from_time)
        );
        activity_span.last_time := greatest(
            activity_span.last_time,
            least(last_quarter + interval '15 minutes', to_time) - interval '1 microsecond'
        );
    END IF;
END
$$;
COMMENT ON FUNCTION activity_span IS
'Between which times there may be activity, from one instant until before another; nulls where '
'there is none.';
