-- Events in ledger order, filtered. The ledger is searched in steps of growing length, and a search
-- that takes too long ends early: the caller goes on where it ended.

CREATE OR REPLACE FUNCTION metadata_indexed_through(metadata jsonb) RETURNS bigint
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $$
    SELECT min(CASE WHEN m.metadata_key IS NULL THEN 0 ELSE coalesce(i.last_seq, 0) END)
    FROM jsonb_object_keys(metadata) AS k (metadata_key)
    LEFT JOIN searchable_metadata AS m ON m.metadata_key = k.metadata_key
    LEFT JOIN metadata_indexes AS i ON i.metadata_key = k.metadata_key
$$;
COMMENT ON FUNCTION metadata_indexed_through IS
'Through which seq all keys of some metadata are indexed; 0 where one is not searchable.';

CREATE OR REPLACE FUNCTION search_query(
    descending boolean, in_order text, by_metadata boolean, is_indexed boolean
)
RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
    SELECT format(
        'SELECT l.* FROM event_lines AS l'
        ' WHERE l.seq BETWEEN $1 AND $2'
        ' AND ($3 IS NULL OR l.event_id %s $3)'
        ' AND ($4 IS NULL OR l.account_id = $4)'
        ' AND ($5 IS NULL OR starts_with(l.account_id, $5))'
        ' AND ($6 IS NULL OR l.event_id = ('
        'SELECT x.event_id FROM external_ids AS x WHERE x.external_id = $6))'
        ' AND ($7 IS NULL OR l.event_id = ANY (ARRAY('
        'SELECT t.event_id FROM legs($7) AS t)))'
        ' AND ($8 IS NULL OR l.refunds_event_id = $8)'
        ' AND ($9 IS NULL OR l.event_type = $9)'
        ' AND ($10 IS NULL OR l.currency = $10)'
        ' AND ($11 IS NULL OR l.transaction_time >= $11)'
        ' AND ($12 IS NULL OR l.transaction_time < $12)'
        ' %s ORDER BY l.%I %s LIMIT $14',
        CASE WHEN descending THEN '<' ELSE '>' END,
        CASE
            WHEN NOT by_metadata THEN ''
            WHEN NOT is_indexed THEN 'AND l.metadata_json::jsonb @> $13'
            ELSE 'AND l.event_id IN ('
                'SELECT v.event_id FROM jsonb_each_text($13) AS w'
                ' CROSS JOIN LATERAL ('
                'SELECT v.event_id FROM metadata_values AS v'
                ' WHERE v.metadata_key = w.key AND v.metadata_value = w.value'
                ' AND v.seq BETWEEN $1 AND $2'
                ' OFFSET 0) AS v'
                ' GROUP BY v.event_id'
                ' HAVING count(*) = (SELECT count(*) FROM jsonb_object_keys($13)))'
        END,
        in_order,
        CASE WHEN descending THEN 'DESC' ELSE 'ASC' END
    )
$$;
COMMENT ON FUNCTION search_query IS
'The query that searches the events from seq $1 through $2. It is planned for each step with '
'the values at hand: a condition that is not asked for is no part of the plan.';

CREATE OR REPLACE FUNCTION events(
    account_id text DEFAULT NULL,
    account_prefix text DEFAULT NULL,
    external_id text DEFAULT NULL,
    transaction_id uuid DEFAULT NULL,
    refunds_event_id uuid DEFAULT NULL,
    event_type text DEFAULT NULL,
    currency text DEFAULT NULL,
    from_time timestamptz DEFAULT NULL,
    to_time timestamptz DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    descending boolean DEFAULT false,
    after_event_id uuid DEFAULT NULL,
    max_rows integer DEFAULT 100,
    patience interval DEFAULT interval '0.3 seconds'
)
RETURNS SETOF event_lines
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
-- Without statistics the planner would read whole partitions for a few events.
SET enable_seqscan TO off
SET jit TO off
AS $$
DECLARE
    started CONSTANT timestamptz := clock_timestamp();
    -- The first step fills most pages. The longest one takes about half a second even where every
    -- event of it has to be looked at, or looked up by an index of metadata.
    step bigint := 4096;
    longest_step CONSTANT bigint := CASE WHEN metadata IS NULL THEN 262144 ELSE 32768 END;
    -- What is left to search, and the step at hand: from one seq through another.
    rest_first bigint := 1;
    rest_last bigint;
    first bigint;
    last bigint;
    -- Through which seq the indexes of all metadata keys that are asked for stand.
    indexed bigint := 0;
    in_order text := 'seq';
    rows_left integer := max_rows;
    found integer;
    reached event_lines%ROWTYPE;
BEGIN
    metadata := nullif(metadata, '{}');
    SELECT h.last_seq INTO rest_last FROM ledger_head AS h;
    IF after_event_id IS NOT NULL AND descending THEN
        SELECT max(e.seq) INTO rest_last FROM (
            SELECT e.seq FROM ledger_events AS e
            WHERE e.event_id < after_event_id ORDER BY e.event_id DESC LIMIT 1
        ) AS e;
    ELSIF after_event_id IS NOT NULL THEN
        SELECT coalesce(max(e.seq), 0) + 1 INTO rest_first FROM (
            SELECT e.seq FROM ledger_events AS e
            WHERE e.event_id <= after_event_id ORDER BY e.event_id DESC LIMIT 1
        ) AS e;
    END IF;

    -- One index finds no more than the page's events: in a single step.
    IF coalesce(external_id, transaction_id::text, refunds_event_id::text) IS NOT NULL THEN
        step := rest_last;
    ELSIF coalesce(
        account_prefix, event_type, currency, from_time::text, to_time::text, metadata::text
    ) IS NULL THEN
        step := rest_last;
        in_order := CASE WHEN account_id IS NULL THEN 'event_id' ELSE 'seq' END;
    END IF;
    IF metadata IS NOT NULL THEN
        indexed := metadata_indexed_through(metadata);
    END IF;

    WHILE rest_first <= rest_last LOOP
        IF descending THEN
            last := rest_last;
            first := greatest(rest_first, last - step + 1);
            IF last > indexed THEN
                first := greatest(first, indexed + 1);
            END IF;
            rest_last := first - 1;
        ELSE
            first := rest_first;
            last := least(rest_last, first + step - 1);
            IF first <= indexed THEN
                last := least(last, indexed);
            END IF;
            rest_first := last + 1;
        END IF;
        RETURN QUERY EXECUTE search_query(
            descending, in_order, metadata IS NOT NULL, last <= indexed
        )
        USING first, last, after_event_id, account_id, account_prefix, external_id, transaction_id,
            refunds_event_id, event_type, currency, from_time, to_time, metadata, rows_left;
        GET DIAGNOSTICS found = ROW_COUNT;
        rows_left := rows_left - found;
        EXIT WHEN rows_left <= 0;
        IF rest_first <= rest_last AND clock_timestamp() > started + patience THEN
            SELECT e.event_id INTO reached.event_id FROM ledger_events AS e
            WHERE e.seq = CASE WHEN descending THEN first ELSE last END;
            RETURN NEXT reached;
            RETURN;
        END IF;
        step := least(8 * step, longest_step);
    END LOOP;
END
$$;
COMMENT ON FUNCTION events IS
'Events in ledger order or against it, after a given one, that meet all conditions; times are '
'transaction_time, from the first and before the second. Where a search outlasts the patience, its '
'last row has nothing but the event_id that it got to.';
