-- What each tenant uses: how large their database is, how busy, how far their state is behind.
-- Services write what only they know, and tenant-manager's sampler the rest. Nothing here tells of
-- an account or an amount. Counters grow as long as the catalog lives: what a tenant used between
-- two samples is the difference.

CREATE TABLE tenant_traffic (
    tenant_id text COLLATE "C" NOT NULL CONSTRAINT tenant_traffic_pkey PRIMARY KEY
    CONSTRAINT tenant_traffic_tenant_fkey REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    requests bigint NOT NULL DEFAULT 0,
    errors bigint NOT NULL DEFAULT 0,
    cpu_s double precision NOT NULL DEFAULT 0,
    parked bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE tenant_traffic IS 'Counters of what services did for each tenant.';
COMMENT ON COLUMN tenant_traffic.errors IS
'Requests answered 5xx, and projections that failed.';
COMMENT ON COLUMN tenant_traffic.cpu_s IS
'The services'' CPU time in seconds, apportioned by requests, events and rows.';
COMMENT ON COLUMN tenant_traffic.parked IS 'Doorbells that projector parked.';

CREATE TABLE slow_reads (
    tenant_id text COLLATE "C" NOT NULL
    CONSTRAINT slow_reads_tenant_fkey REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    day date NOT NULL, -- noqa: RF04
    call text COLLATE "C" NOT NULL, -- noqa: RF04
    seconds double precision NOT NULL,
    read_at timestamptz NOT NULL,
    row_count bigint,
    CONSTRAINT slow_reads_pkey PRIMARY KEY (tenant_id, day, call)
);
COMMENT ON TABLE slow_reads IS 'The slowest read of each kind, tenant and day (UTC).';
COMMENT ON COLUMN slow_reads.seconds IS 'Waiting for a connection included.';
COMMENT ON COLUMN slow_reads.row_count IS 'Null where the service does not count them.';

CREATE TABLE tenant_usage (
    tenant_id text COLLATE "C" NOT NULL CONSTRAINT tenant_usage_pkey PRIMARY KEY
    CONSTRAINT tenant_usage_tenant_fkey REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    sampled_at timestamptz NOT NULL,
    connections integer NOT NULL,
    database_s double precision NOT NULL DEFAULT 0,
    database_s_per_s double precision,
    server_active_ms double precision NOT NULL,
    server_writes bigint NOT NULL,
    known_writes bigint,
    known_at timestamptz,
    asked_at timestamptz NOT NULL DEFAULT '-infinity',
    size_bytes bigint,
    events bigint,
    events_per_s double precision,
    accounts bigint, -- noqa: RF04
    events_behind bigint,
    seconds_behind double precision,
    unarchived_seq bigint,
    unarchived_at timestamptz
);
COMMENT ON TABLE tenant_usage IS 'What the sampler saw last of each tenant.';
COMMENT ON COLUMN tenant_usage.database_s IS
'Counter of the seconds that Postgres was busy with statements in the tenant''s database.';
COMMENT ON COLUMN tenant_usage.server_active_ms IS
'What the server''s own counter said, which begins anew when its statistics are lost.';
COMMENT ON COLUMN tenant_usage.server_writes IS
'Rows written in the database, as the server counts them.';
COMMENT ON COLUMN tenant_usage.known_writes IS
'server_writes when the ledger was asked. A ledger with no more writes need not be asked again.';
COMMENT ON COLUMN tenant_usage.known_at IS 'When the ledger''s figures were last known to be true.';
COMMENT ON COLUMN tenant_usage.asked_at IS
'When the tenant''s database was last asked, whether it answered or not.';
COMMENT ON COLUMN tenant_usage.unarchived_seq IS
'The first event that was not in the archive then; null where all were.';
COMMENT ON COLUMN tenant_usage.unarchived_at IS 'When that event was recorded.';

CREATE TABLE usage_samples (
    tenant_id text COLLATE "C" NOT NULL
    CONSTRAINT usage_samples_tenant_fkey REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    sampled_at timestamptz NOT NULL,
    size_bytes bigint,
    events bigint,
    accounts bigint, -- noqa: RF04
    events_behind bigint,
    seconds_behind double precision,
    connections integer NOT NULL,
    database_s double precision NOT NULL,
    services_s double precision NOT NULL,
    requests bigint NOT NULL,
    errors bigint NOT NULL,
    parked bigint NOT NULL,
    CONSTRAINT usage_samples_pkey PRIMARY KEY (tenant_id, sampled_at)
);
COMMENT ON TABLE usage_samples IS
'Usage over time: every few minutes for two days, then one sample a day.';

CREATE TABLE usage_rounds (
    is_only boolean NOT NULL DEFAULT true CONSTRAINT usage_rounds_pkey PRIMARY KEY
    CONSTRAINT usage_rounds_is_only CHECK (is_only),
    due_at timestamptz NOT NULL DEFAULT '-infinity',
    keep_due_at timestamptz NOT NULL DEFAULT '-infinity',
    sampled_at timestamptz,
    parked_doorbells bigint
);
COMMENT ON TABLE usage_rounds IS 'When the sampler goes round next: one row.';
COMMENT ON COLUMN usage_rounds.keep_due_at IS 'When samples are kept next, and old ones removed.';
COMMENT ON COLUMN usage_rounds.sampled_at IS 'When a round was done last.';
COMMENT ON COLUMN usage_rounds.parked_doorbells IS
'Those in the broker''s queue; null where no broker answered.';

INSERT INTO usage_rounds DEFAULT VALUES;
