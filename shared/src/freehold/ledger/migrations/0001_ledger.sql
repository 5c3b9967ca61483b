-- The ledger's tables. The events are the truth; everything under "state" is derived from them.
--
-- Names stay unqualified: the migration runner chooses the schema with search_path, and every
-- function keeps that path with SET search_path FROM CURRENT.

CREATE TABLE ledger_settings (
    only_row boolean NOT NULL DEFAULT true
    CONSTRAINT ledger_settings_pkey PRIMARY KEY
    CONSTRAINT ledger_settings_only_row CHECK (only_row),
    partition_span text NOT NULL DEFAULT 'year'
    CONSTRAINT ledger_settings_partition_span CHECK (partition_span IN ('year', 'month')),
    idempotency_retention interval NOT NULL DEFAULT '24 hours'
    CONSTRAINT ledger_settings_idempotency_retention CHECK (idempotency_retention > '0'),
    partitions_until timestamptz
);
COMMENT ON TABLE ledger_settings IS 'What a tenant may choose about their own ledger. One row.';
COMMENT ON COLUMN ledger_settings.partitions_until IS
'Not a choice: what make_partitions noted of partitions_end, for append to read at no cost.';

INSERT INTO ledger_settings DEFAULT VALUES;

-- C collation throughout: ids compare by bytes, so prefixes and cursors use the plain index.
CREATE TABLE ledger_events (
    event_id uuid NOT NULL CONSTRAINT ledger_events_pkey PRIMARY KEY,
    seq bigint NOT NULL,
    account_id text COLLATE "C" NOT NULL,
    transaction_time timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    event_type text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    currency char(3) COLLATE "C" NOT NULL,
    transaction_id uuid,
    reverses_event_id uuid,
    external_id text COLLATE "C",
    metadata jsonb NOT NULL,
    hash bytea NOT NULL,
    -- One constraint for both: every single one is parsed anew for each insert.
    CONSTRAINT ledger_events_sound CHECK (amount_minor <> 0 AND seq > 0)
) PARTITION BY RANGE (event_id);
COMMENT ON TABLE ledger_events IS
'Immutable, accepted facts: signed amounts on accounts, in the order they were committed.';
COMMENT ON COLUMN ledger_events.seq IS 'The gap-free event number, 1..n, in commit order.';
COMMENT ON COLUMN ledger_events.event_id IS 'UUIDv7; sorts exactly as seq does.';
COMMENT ON COLUMN ledger_events.transaction_time IS 'Business time; may be backdated.';
COMMENT ON COLUMN ledger_events.recorded_at IS 'When the ledger accepted the event; never falls.';
COMMENT ON COLUMN ledger_events.amount_minor IS 'Signed, in minor units of the currency.';
COMMENT ON COLUMN ledger_events.hash IS
'sha256(hash of the event before || event_bytes of this one); the first follows 32 zero bytes.';

-- seq follows the physical order, so a block-range index finds it at almost no cost to inserts.
CREATE INDEX ledger_events_seq_idx ON ledger_events
USING brin (seq) WITH (pages_per_range = 32, autosummarize = on);
-- By seq and not by event_id, although they rise together: so no plan can take this index for the
-- primary key's.
CREATE INDEX ledger_events_account_idx ON ledger_events (account_id, seq);

CREATE TABLE ledger_head (
    only_row boolean NOT NULL DEFAULT true
    CONSTRAINT ledger_head_pkey PRIMARY KEY
    CONSTRAINT ledger_head_only_row CHECK (only_row),
    last_seq bigint NOT NULL DEFAULT 0,
    last_event_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    last_recorded_at timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',
    last_hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex')
) WITH (fillfactor = 10);
COMMENT ON TABLE ledger_head IS 'Where the ledger ends. Locking its one row is the writer lock.';

INSERT INTO ledger_head DEFAULT VALUES;

-- Uniqueness that must outlive partitions stands in small tables of its own.
CREATE TABLE external_ids (
    external_id text COLLATE "C" NOT NULL CONSTRAINT external_ids_pkey PRIMARY KEY,
    event_id uuid NOT NULL
);
COMMENT ON TABLE external_ids IS 'The upstream''s own ids: each names one event, for good.';

CREATE TABLE reversals (
    reversed_event_id uuid NOT NULL CONSTRAINT reversals_pkey PRIMARY KEY,
    event_id uuid NOT NULL
);
COMMENT ON TABLE reversals IS 'Which event undoes which: nothing is reversed twice.';

CREATE TABLE idempotency_keys (
    idempotency_key text COLLATE "C" NOT NULL CONSTRAINT idempotency_keys_pkey PRIMARY KEY,
    fingerprint text COLLATE "C" NOT NULL,
    first_event_id uuid NOT NULL,
    last_event_id uuid NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE idempotency_keys IS
'What each key''s request was and the events it made, written in the append''s own transaction.';

-- State: derived from the ledger, rebuildable, never the truth.

CREATE TABLE account_balances (
    account_id text COLLATE "C" NOT NULL,
    currency char(3) COLLATE "C" NOT NULL,
    current_balance_minor numeric(38, 0) NOT NULL,
    event_count bigint NOT NULL,
    last_ledger_event_id uuid NOT NULL,
    last_seq bigint NOT NULL,
    last_updated_time timestamptz NOT NULL,
    CONSTRAINT account_balances_pkey PRIMARY KEY (account_id, currency)
) WITH (fillfactor = 70);
COMMENT ON TABLE account_balances IS 'The balance of each account in each currency, as projected.';

CREATE TABLE projection_checkpoint (
    only_row boolean NOT NULL DEFAULT true
    CONSTRAINT projection_checkpoint_pkey PRIMARY KEY
    CONSTRAINT projection_checkpoint_only_row CHECK (only_row),
    last_seq bigint NOT NULL DEFAULT 0,
    last_ledger_event_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    epoch bigint NOT NULL DEFAULT 1
) WITH (fillfactor = 10);
COMMENT ON TABLE projection_checkpoint IS 'How far the ledger has been projected. One row.';

INSERT INTO projection_checkpoint DEFAULT VALUES;

-- Immutability: no role holds the rights, and these triggers refuse even the owner.

CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: the ledger is append-only', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation',
          HINT = 'Append a reversal instead.';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_events
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE ledger_events ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON external_ids
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE external_ids ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reversals
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE reversals ENABLE ALWAYS TRIGGER append_only;

-- Partitions: a range of UUIDv7 ids is a range of recorded times.

CREATE FUNCTION uuid_floor(instant timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT (
        lpad(to_hex(floor(extract(EPOCH FROM instant) * 1000)::bigint), 12, '0')
        || repeat('0', 20)
    )::uuid
$$;
COMMENT ON FUNCTION uuid_floor(timestamptz) IS
'The least uuid that an event recorded at this instant could have (RFC 9562, section 5.7).';

CREATE FUNCTION partitions_end() RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $$
    SELECT to_timestamp(
        ('x' || replace(left(max(b.upper_bound COLLATE "C"), 13), '-', ''))::bit(48)::bigint / 1000.0
    )
    FROM (
        SELECT substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''(.{36})''\)')
        FROM pg_inherits AS i
        INNER JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'ledger_events'::regclass
    ) AS b (upper_bound)
$$;
COMMENT ON FUNCTION partitions_end IS 'Up to when there are partitions; null where there are none.';

CREATE FUNCTION make_partitions(until timestamptz DEFAULT now() + interval '1 year')
RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    span text;
    step interval;
    starts timestamp;
    ends timestamp;
    partition_name text;
    made integer := 0;
BEGIN
    -- One maker at a time: two at once would make the same partition.
    SELECT s.partition_span INTO span FROM ledger_settings AS s FOR UPDATE;
    step := ('1 ' || span)::interval;
    -- Spans are cut in UTC, whatever the session's time zone is. A partition begins where the last
    -- one ends, so a tenant may change over from years to months and back.
    starts := greatest(
        date_trunc(span, now() AT TIME ZONE 'UTC'), partitions_end() AT TIME ZONE 'UTC'
    );
    WHILE starts <= until AT TIME ZONE 'UTC' LOOP
        ends := date_trunc(span, starts) + step;
        partition_name := 'ledger_events_'
            || to_char(starts, CASE span WHEN 'year' THEN 'YYYY' ELSE 'YYYY_MM' END);
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
        made := made + 1;
        starts := ends;
    END LOOP;
    UPDATE ledger_settings AS s SET partitions_until = partitions_end()
    WHERE s.partitions_until IS DISTINCT FROM partitions_end();
    RETURN made;
END
$$;
COMMENT ON FUNCTION make_partitions(timestamptz) IS
'Makes the partitions that are missing up to an instant; returns how many it made.';

SELECT make_partitions();
