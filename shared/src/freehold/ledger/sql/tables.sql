-- The ledger's tables, as a new ledger gets them. A ledger that exists gets each change of this
-- file by a migration that says the same.
--
-- The events are the truth. Everything under "State" is derived from them.
--
-- Names are unqualified: the migrator sets search_path. Text ids have the C collation: they compare
-- by their bytes, so that prefixes and cursors use a plain index.

CREATE TABLE ledger_settings (
    only_row boolean NOT NULL DEFAULT true
    CONSTRAINT ledger_settings_pkey PRIMARY KEY
    CONSTRAINT ledger_settings_only_row CHECK (only_row),
    partition_span text NOT NULL DEFAULT 'year'
    CONSTRAINT ledger_settings_partition_span CHECK (partition_span IN ('year', 'month')),
    idempotency_retention interval NOT NULL DEFAULT '24 hours'
    CONSTRAINT ledger_settings_idempotency_retention CHECK (idempotency_retention > '0'),
    partitions_until timestamptz,
    next_hold_expiry timestamptz,
    event_types_closed boolean NOT NULL DEFAULT false,
    with_event_types boolean NOT NULL DEFAULT false,
    with_account_limits boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE ledger_settings IS 'What a tenant may choose about their own ledger. One row.';
COMMENT ON COLUMN ledger_settings.partitions_until IS
'Not a choice: until when there are partitions.';
COMMENT ON COLUMN ledger_settings.next_hold_expiry IS
'Not a choice: no pending hold expires before then; null where none ever does.';
COMMENT ON COLUMN ledger_settings.event_types_closed IS 'Whether undeclared types are refused.';
COMMENT ON COLUMN ledger_settings.with_event_types IS
'Not a choice: whether append must check event types.';
COMMENT ON COLUMN ledger_settings.with_account_limits IS
'Not a choice: whether append must check account limits.';

INSERT INTO ledger_settings DEFAULT VALUES;

-- Events.

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
    refunds_event_id uuid,
    external_id text COLLATE "C",
    metadata jsonb NOT NULL,
    hash bytea NOT NULL,
    hold_id uuid,
    held_minor bigint,
    hold_expires_at timestamptz,
    -- One constraint for both conditions: each insert parses every constraint anew.
    CONSTRAINT ledger_events_sound
    CHECK (seq > 0 AND (amount_minor <> 0 OR coalesce(held_minor, 0) <> 0))
) PARTITION BY RANGE (event_id);
COMMENT ON TABLE ledger_events IS
'Immutable, accepted facts: signed amounts on accounts, in the order they were committed.';
COMMENT ON COLUMN ledger_events.seq IS 'The gap-free event number, 1..n, in commit order.';
COMMENT ON COLUMN ledger_events.event_id IS 'UUIDv7; sorts exactly as seq does.';
COMMENT ON COLUMN ledger_events.transaction_time IS 'Business time; may be backdated.';
COMMENT ON COLUMN ledger_events.recorded_at IS 'When the ledger accepted the event; never falls.';
COMMENT ON COLUMN ledger_events.amount_minor IS 'Signed, in minor units of the currency.';
COMMENT ON COLUMN ledger_events.transaction_id IS
'The first leg''s event_id, on each leg of a balanced transaction; legs stand next to each other.';
COMMENT ON COLUMN ledger_events.refunds_event_id IS
'The event of which this one gives back a part, or all (refunds.sql).';
COMMENT ON COLUMN ledger_events.hash IS
'sha256(hash of the event before || event_bytes of this one); the first follows 32 zero bytes.';
COMMENT ON COLUMN ledger_events.hold_id IS 'The event_id of the event that placed the hold.';
COMMENT ON COLUMN ledger_events.held_minor IS
'What the event adds to the amount held: positive where it places a hold, negative where it '
'settles one.';
COMMENT ON COLUMN ledger_events.hold_expires_at IS
'On the event that places a hold: when it expires by itself; null for never.';

-- seq follows the physical order, so a block-range index finds it at almost no cost to inserts. It
-- also leaves out the ranges that lack an event type, a currency or a time. A range has about 1,300
-- events: 256 values tell the times of those that are backdated one by one.
CREATE INDEX ledger_events_ranges_idx ON ledger_events
USING brin (
    seq,
    event_type text_bloom_ops,
    (currency::text) text_bloom_ops,
    transaction_time timestamptz_minmax_multi_ops (values_per_range = 256)
) WITH (pages_per_range = 32, autosummarize = on);
-- By seq and not by event_id, although they rise together: no plan can then use this index in place
-- of the primary key's.
CREATE INDEX ledger_events_account_idx ON ledger_events (account_id, seq);
-- An event's refunds. Other events are not in it, so that it costs their appends nothing.
CREATE INDEX ledger_events_refunds_idx ON ledger_events (refunds_event_id, seq)
WHERE refunds_event_id IS NOT NULL; -- noqa: CP04
-- The events that placed an account's holds, likewise.
CREATE INDEX ledger_events_holds_idx ON ledger_events (account_id, event_id)
WHERE held_minor > 0; -- noqa: CP04

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

-- What must be unique across partitions stands in small tables of its own.

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

CREATE TABLE holds (
    hold_id uuid NOT NULL CONSTRAINT holds_pkey PRIMARY KEY,
    expires_at timestamptz,
    settled_event_id uuid
);
COMMENT ON TABLE holds IS
'Which event settled each hold (null: it is pending): nothing is captured or released twice. '
'Derived from the events by append, and checked by verify.';
CREATE INDEX holds_due_idx ON holds (expires_at) WHERE settled_event_id IS NULL; -- noqa: CP04
CREATE INDEX holds_pending_idx ON holds (hold_id) WHERE settled_event_id IS NULL; -- noqa: CP04

CREATE TABLE idempotency_keys (
    idempotency_key text COLLATE "C" NOT NULL CONSTRAINT idempotency_keys_pkey PRIMARY KEY,
    fingerprint text COLLATE "C" NOT NULL,
    first_event_id uuid NOT NULL,
    last_event_id uuid NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE idempotency_keys IS
'What each key''s request was and the events it made, written in the append''s own transaction.';
CREATE INDEX idempotency_keys_expiry_idx ON idempotency_keys (expires_at);
-- Finds a segment's keys. Ids rise with every append, so this index costs appends next to nothing.
CREATE INDEX idempotency_keys_event_idx ON idempotency_keys (last_event_id);

-- Rules.

CREATE TABLE event_types (
    event_type text COLLATE "C" NOT NULL CONSTRAINT event_types_pkey PRIMARY KEY,
    sign text NOT NULL
    CONSTRAINT event_types_sign CHECK (sign IN ('positive', 'negative', 'any')),
    description text NOT NULL,
    declared_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE event_types IS 'The event types that the tenant has declared.';
COMMENT ON COLUMN event_types.sign IS 'Which amounts events of this type may have.';

CREATE TABLE searchable_metadata (
    metadata_key text COLLATE "C" NOT NULL CONSTRAINT searchable_metadata_pkey PRIMARY KEY
);
COMMENT ON TABLE searchable_metadata IS
'The metadata keys by which the tenant searches for events: project keeps an index of each.';

CREATE TABLE account_limits (
    account_id text COLLATE "C" NOT NULL,
    currency char(3) COLLATE "C" NOT NULL,
    min_balance_minor bigint NOT NULL,
    CONSTRAINT account_limits_pkey PRIMARY KEY (account_id, currency)
);
COMMENT ON TABLE account_limits IS
'The lowest available balance that an account may have; without a row there is no limit.';

-- Rules have no events of their own. Their changes are recorded here, numbered under the writer
-- lock, so that a ledger brought back to an instant has the rules of that instant.
CREATE TABLE rule_changes (
    change_id bigint NOT NULL CONSTRAINT rule_changes_pkey PRIMARY KEY,
    changed_at timestamptz NOT NULL,
    kind text COLLATE "C" NOT NULL
    CONSTRAINT rule_changes_kind CHECK (
        kind IN ('event_type', 'account_limit', 'searchable_metadata', 'settings')
    ),
    subject text COLLATE "C" NOT NULL,
    terms jsonb
);
COMMENT ON TABLE rule_changes IS
'What the tenant''s rules and choices became, and when, numbered 1..n without a gap.';
COMMENT ON COLUMN rule_changes.subject IS
'Which one: an event type, an account and a currency, a metadata key, or nothing for the settings.';
COMMENT ON COLUMN rule_changes.terms IS 'The rule as it is from then on; null where it was lifted.';

-- State: derived from the ledger, rebuildable, never the truth.

CREATE TABLE account_balances (
    account_id text COLLATE "C" NOT NULL,
    currency char(3) COLLATE "C" NOT NULL,
    current_balance_minor numeric(38, 0) NOT NULL,
    event_count bigint NOT NULL,
    last_ledger_event_id uuid NOT NULL,
    last_seq bigint NOT NULL,
    last_updated_time timestamptz NOT NULL,
    held_minor numeric(38, 0) NOT NULL DEFAULT 0,
    CONSTRAINT account_balances_pkey PRIMARY KEY (account_id, currency)
) WITH (fillfactor = 70);
COMMENT ON TABLE account_balances IS 'The balance of each account in each currency, as projected.';
COMMENT ON COLUMN account_balances.held_minor IS
'What pending holds set aside. Available is current_balance_minor - held_minor.';

-- What an account had at any point in time is summed from these (points_in_time.sql). In ledger
-- order, an account's events are cut into blocks of 4096. The events of a block in one currency
-- stand in order of transaction_time and seq, on pages of 72. What comes after an account's last
-- block, and all of an account with fewer events, is read from the ledger itself.

CREATE TABLE account_blocks (
    account_id text COLLATE "C" NOT NULL,
    block_seq bigint NOT NULL,
    currency char(3) COLLATE "C" NOT NULL,
    page_times timestamptz[] NOT NULL,
    CONSTRAINT account_blocks_pkey PRIMARY KEY (account_id, block_seq, currency)
);
COMMENT ON TABLE account_blocks IS
'Each block of 4096 consecutive events of an account, in each currency that it has.';
COMMENT ON COLUMN account_blocks.block_seq IS
'The last of the 4096 events: the block is named after its seq, and the account''s next one begins '
'there.';
COMMENT ON COLUMN account_blocks.page_times IS 'The transaction_time at which each page begins.';

CREATE TABLE block_pages (
    block_seq bigint NOT NULL,
    currency char(3) COLLATE "C" NOT NULL,
    page_number integer NOT NULL,
    in_before numeric(38, 0) NOT NULL,
    out_before numeric(38, 0) NOT NULL,
    count_before bigint NOT NULL,
    last_seq_before bigint NOT NULL,
    times timestamptz[] NOT NULL,
    seqs bigint[] NOT NULL,
    amounts bigint[] NOT NULL,
    CONSTRAINT block_pages_pkey PRIMARY KEY (block_seq, currency, page_number)
);
COMMENT ON TABLE block_pages IS
'The events of a block in one currency, in order of transaction_time and seq, 72 on a page.';
COMMENT ON COLUMN block_pages.page_number IS 'Counts the pages from 1.';
COMMENT ON COLUMN block_pages.in_before IS
'The sum of positive amounts on the pages before; out_before of negative ones, without the sign.';
COMMENT ON COLUMN block_pages.last_seq_before IS
'The greatest seq on the pages before; 0 for none.';

CREATE TABLE activity_rollups (
    quarter_hour timestamptz NOT NULL,
    currency char(3) COLLATE "C" NOT NULL,
    event_type text COLLATE "C" NOT NULL,
    event_count bigint NOT NULL,
    amount_in_minor numeric(38, 0) NOT NULL,
    amount_out_minor numeric(38, 0) NOT NULL,
    CONSTRAINT activity_rollups_pkey PRIMARY KEY (quarter_hour, currency, event_type)
) WITH (fillfactor = 90);
COMMENT ON TABLE activity_rollups IS
'What was projected, summed up by transaction_time: all offsets from UTC that are in use are '
'multiples of a quarter of an hour.';
COMMENT ON COLUMN activity_rollups.amount_out_minor IS 'What was taken, as a positive number.';

CREATE TABLE metadata_indexes (
    metadata_key text COLLATE "C" NOT NULL CONSTRAINT metadata_indexes_pkey PRIMARY KEY,
    last_seq bigint NOT NULL DEFAULT 0,
    last_ledger_event_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'
);
COMMENT ON TABLE metadata_indexes IS
'Through which event metadata_values has the values of a key. A key that is no longer searchable '
'stays until its values are gone.';

CREATE TABLE metadata_values (
    metadata_key text COLLATE "C" NOT NULL,
    metadata_value text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    event_id uuid NOT NULL,
    CONSTRAINT metadata_values_pkey PRIMARY KEY (metadata_key, metadata_value, seq)
);
COMMENT ON TABLE metadata_values IS 'The events that have a value at a searchable metadata key.';

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
