-- Which version of the ledger services must know, and how each tenant's ledger was migrated.

ALTER TABLE tenants
ADD COLUMN services_version_min integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN tenants.services_version_min IS
'What services must know to work there: the last migration that took away what earlier ones use.';

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
COMMENT ON COLUMN tenant_migrations.due_at IS 'Whoever waits has no turn before.';
CREATE INDEX tenant_migrations_turn_idx ON tenant_migrations (
    operation_id, status, due_at, tenant_id
);

CREATE OR REPLACE VIEW service_homes WITH (security_barrier) AS
SELECT
    t.tenant_id,
    t.epoch,
    c.host,
    c.port,
    t.database_name,
    t.schema_name,
    t.schema_version,
    r.role_name,
    r.sealing_key_id,
    r.sealed_password,
    t.ingest_events_per_s,
    t.ingest_requests_max,
    t.status,
    t.services_version_min
FROM tenants AS t
INNER JOIN clusters AS c ON t.cluster = c.cluster
INNER JOIN tenant_credentials AS r ON t.tenant_id = r.tenant_id
WHERE
    current_user = 'freehold_' || r.service
    AND t.status IN ('active', 'suspended', 'deleting');
