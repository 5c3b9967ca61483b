-- What takes long, and how far it is. Whichever process works on an operation says so again and
-- again; where it falls silent, another goes on from the state that was noted last.

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
    worker uuid,
    seen_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
COMMENT ON TABLE operations IS 'Work that takes long: asked for, under way, or done.';
COMMENT ON COLUMN operations.state IS 'What whoever goes on with it needs to know.';
COMMENT ON COLUMN operations.seen_at IS 'When its worker last said that it is at work.';

CREATE INDEX operations_created_idx ON operations (created_at, operation_id);
CREATE INDEX operations_tenant_idx ON operations (tenant_id, created_at, operation_id);
-- The same thing is asked for once at a time; whoever asks again hears of the one there is.
CREATE UNIQUE INDEX operations_asked_idx ON operations (
    coalesce(tenant_id, ''), kind, md5(parameters::text)
) WHERE status IN ('queued', 'running'); -- noqa: CP04
-- Of a tenant one operation runs at a time, and of those that are no tenant's one of each kind.
CREATE UNIQUE INDEX operations_running_idx ON operations (
    coalesce(tenant_id, '/' || kind)
) WHERE status = 'running'; -- noqa: CP04

-- One more role of each tenant: it reads everything, for dumps and for the archive.
ALTER TABLE tenant_credentials
DROP CONSTRAINT tenant_credentials_service,
ADD CONSTRAINT tenant_credentials_service
CHECK (service IN ('ingest', 'projector', 'query', 'auditor', 'backup'));
