-- Partitions of the events: a range of UUIDv7 ids is a range of recorded times. Spans are cut in
-- UTC, whatever the session's time zone is. Bounds are read with patterns that have no backslash:
-- what a backslash means in a literal depends on a session's settings.

CREATE OR REPLACE FUNCTION partition_bounds(OUT starts timestamp, OUT ends timestamp)
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $$
    SELECT uuid_instant(min(b.bounds[1] COLLATE "C")) AT TIME ZONE 'UTC',
        uuid_instant(max(b.bounds[2] COLLATE "C")) AT TIME ZONE 'UTC'
    FROM (
        SELECT regexp_match(
            pg_get_expr(c.relpartbound, c.oid), 'FROM [(]''(.{36})''[)] TO [(]''(.{36})''[)]'
        )
        FROM pg_inherits AS i
        INNER JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'ledger_events'::regclass
    ) AS b (bounds)
$$;
COMMENT ON FUNCTION partition_bounds IS
'From when until when there are partitions, in UTC; null where there are none.';

CREATE OR REPLACE FUNCTION add_partition(partition_name text, starts timestamp, ends timestamp)
RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    -- Made aside and then attached: attaching lets appends and readers go on.
    EXECUTE format(
        'CREATE TABLE %I (LIKE ledger_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
        partition_name
    );
    EXECUTE format(
        'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I'
        ' FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()',
        partition_name
    );
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER append_only', partition_name);
    EXECUTE format(
        'ALTER TABLE ledger_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        partition_name,
        uuid_floor(starts AT TIME ZONE 'UTC'),
        uuid_floor(ends AT TIME ZONE 'UTC')
    );
END
$$;
COMMENT ON FUNCTION add_partition IS 'Adds one partition, from an instant in UTC until another.';

CREATE OR REPLACE FUNCTION make_partitions(until timestamptz DEFAULT now() + interval '1 year')
RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    span text;
    starts timestamp;
    ends timestamp;
    made integer := 0;
BEGIN
    -- One maker at a time: two at once would make the same partition.
    SELECT s.partition_span INTO span FROM ledger_settings AS s FOR UPDATE;
    -- A partition begins where the last one ends. So a tenant may change from years to months and
    -- back, and a clock that leaps leaves no gap behind.
    starts := coalesce(
        (SELECT b.ends FROM partition_bounds() AS b),
        date_trunc(span, ledger_now() AT TIME ZONE 'UTC')
    );
    WHILE starts <= until AT TIME ZONE 'UTC' LOOP
        ends := date_trunc(span, starts) + ('1 ' || span)::interval;
        PERFORM add_partition(
            'ledger_events_'
            || to_char(starts, CASE span WHEN 'year' THEN 'YYYY' ELSE 'YYYY_MM' END),
            starts,
            ends
        );
        made := made + 1;
        starts := ends;
    END LOOP;
    UPDATE ledger_settings AS s SET partitions_until = b.ends AT TIME ZONE 'UTC'
    FROM partition_bounds() AS b
    WHERE s.partitions_until IS DISTINCT FROM b.ends AT TIME ZONE 'UTC';
    RETURN made;
END
$$;
COMMENT ON FUNCTION make_partitions(timestamptz) IS
'Makes the partitions that are missing up to an instant; returns how many it made.';

CREATE OR REPLACE FUNCTION make_earlier_partitions(since timestamptz) RETURNS integer
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    span CONSTANT text := (SELECT s.partition_span FROM ledger_settings AS s);
    ends timestamp := (SELECT b.starts FROM partition_bounds() AS b);
    starts timestamp;
    made integer := 0;
BEGIN
    WHILE since AT TIME ZONE 'UTC' < ends LOOP
        -- A span that begins before the first partition, and ends where that one begins.
        starts := date_trunc(span, ends - interval '1 microsecond');
        PERFORM add_partition(
            'ledger_events_'
            || to_char(starts, CASE span WHEN 'year' THEN 'YYYY' ELSE 'YYYY_MM' END)
            || CASE
                WHEN starts + ('1 ' || span)::interval = ends THEN ''
                ELSE to_char(ends, '_YYYY_MM')
            END,
            starts,
            ends
        );
        made := made + 1;
        ends := starts;
    END LOOP;
    RETURN made;
END
$$;
COMMENT ON FUNCTION make_earlier_partitions IS
'Makes the partitions that events recorded since an instant need before the first one there is.';
