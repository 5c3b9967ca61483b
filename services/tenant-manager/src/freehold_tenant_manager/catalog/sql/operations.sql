-- What takes long, and how far it is. The process that works on an operation renews its lease. If
-- it stops, another process goes on from the state that was saved last.

CREATE TABLE operations (
    operation_id uuid NOT NULL CONSTRAINT operations_pkey PRIMARY KEY,
    kind text NOT NULL,
    tenant_id text COLLATE "C"
    CONSTRAINT operations_tenant_fkey REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    parameters jsonb NOT NULL, -- noqa: RF04
    status text NOT NULL DEFAULT 'queued'
    CONSTRAINT operations_status CHECK (status IN ('queued', 'running', 'succeeded', 'failed')),
    progress double precision NOT NULL DEFAULT 0
    CONSTRAINT operations_progress CHECK (progress BETWEEN 0 AND 1),
    message text NOT NULL DEFAULT '',
    state jsonb NOT NULL DEFAULT '{}',
    result jsonb,
    asked_by jsonb,
    leased_by uuid,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
COMMENT ON TABLE operations IS 'Work that takes long: asked for, under way, or done.';
COMMENT ON COLUMN operations.state IS 'What the next process needs in order to go on.';
COMMENT ON COLUMN operations.asked_by IS
'What the audit log says of the act that asked for it; null where a schedule did.';
COMMENT ON COLUMN operations.leased_until IS
'Until then the process leased_by works on it, unless it renews the lease.';
CREATE INDEX operations_created_idx ON operations (created_at, operation_id);
CREATE INDEX operations_tenant_idx ON operations (tenant_id, created_at, operation_id);
-- The same thing is asked for once at a time. Who asks again gets the operation that exists.
CREATE UNIQUE INDEX operations_asked_idx ON operations (
    coalesce(tenant_id, ''), kind, md5(parameters::text)
) WHERE status IN ('queued', 'running'); -- noqa: CP04
-- One operation of each tenant runs at a time, and one of each kind that concerns no tenant.
CREATE UNIQUE INDEX operations_running_idx ON operations (
    coalesce(tenant_id, '/' || kind)
) WHERE status = 'running'; -- noqa: CP04

CREATE TABLE tenant_migrations (
    tenant_id text COLLATE "C" NOT NULL CONSTRAINT tenant_migrations_pkey PRIMARY KEY
    CONSTRAINT tenant_migrations_tenant_fkey REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    operation_id uuid NOT NULL,
    phase text NOT NULL
    CONSTRAINT tenant_migrations_phase CHECK (phase IN ('before', 'after')),
    status text NOT NULL DEFAULT 'waiting'
    CONSTRAINT tenant_migrations_status
    CHECK (status IN ('waiting', 'running', 'succeeded', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    error text,
    started_at timestamptz,
    finished_at timestamptz
);
COMMENT ON TABLE tenant_migrations IS
'How each tenant''s ledger was migrated last: a row outlives the process that works on it.';
COMMENT ON COLUMN tenant_migrations.due_at IS 'A tenant that waits has no turn before.';
CREATE INDEX tenant_migrations_turn_idx ON tenant_migrations (
    operation_id, status, due_at, tenant_id
);
