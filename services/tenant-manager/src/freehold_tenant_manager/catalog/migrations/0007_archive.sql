-- The continuous archive, and restores. Each restore begins an epoch, with a history of its own;
-- what was before where it began is its parent's.

CREATE TABLE tenant_epochs (
    tenant_id text COLLATE "C" NOT NULL
    CONSTRAINT tenant_epochs_tenant_fkey REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    epoch bigint NOT NULL,
    started_at timestamptz NOT NULL,
    parent_epoch bigint,
    start_at timestamptz,
    start_seq bigint NOT NULL,
    start_change bigint NOT NULL,
    archived_seq bigint NOT NULL,
    archived_event_id uuid NOT NULL,
    archived_hash bytea NOT NULL,
    archived_change bigint NOT NULL,
    archived_at timestamptz,
    fault text,
    claim uuid,
    claimed_until timestamptz,
    due_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_epochs_pkey PRIMARY KEY (tenant_id, epoch)
);
COMMENT ON TABLE tenant_epochs IS
'How each history of a tenant came about, and how far it has been archived.';
COMMENT ON COLUMN tenant_epochs.started_at IS 'From then on this was what the tenant had.';
COMMENT ON COLUMN tenant_epochs.start_at IS 'The instant that its parent was restored to.';
COMMENT ON COLUMN tenant_epochs.start_seq IS
'The last event that it has in common with its parent.';
COMMENT ON COLUMN tenant_epochs.start_change IS 'The same of changes of rules.';
COMMENT ON COLUMN tenant_epochs.archived_hash IS
'The hash at archived_seq: a ledger that has another there is not archived any further.';
COMMENT ON COLUMN tenant_epochs.fault IS
'Why it could not be archived the last time; null: it was.';
COMMENT ON COLUMN tenant_epochs.claim IS 'Of the process that archives now.';
COMMENT ON COLUMN tenant_epochs.due_at IS
'When it is looked at, whether a doorbell has rung or not.';
CREATE INDEX tenant_epochs_due_idx ON tenant_epochs (due_at);

-- The head noted outside a ledger is good for its epoch only.
ALTER TABLE reconciliations ADD COLUMN epoch bigint NOT NULL DEFAULT 1;

CREATE TABLE former_databases (
    database_name text COLLATE "C" NOT NULL CONSTRAINT former_databases_pkey PRIMARY KEY,
    tenant_id text COLLATE "C" NOT NULL
    CONSTRAINT former_databases_tenant_fkey REFERENCES tenants (tenant_id),
    kind text NOT NULL
    CONSTRAINT former_databases_kind CHECK (kind IN ('making', 'preview', 'former')),
    epoch bigint NOT NULL,
    restored_to timestamptz,
    operation_id uuid,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE former_databases IS
'Databases beside a tenant''s own: what it was before a restore, previews, and those being made.';
COMMENT ON COLUMN former_databases.epoch IS
'Of a former one its own; of the others that which the restore is, or would be.';
CREATE INDEX former_databases_tenant_idx ON former_databases (tenant_id, created_at);

CREATE TABLE former_credentials (
    database_name text COLLATE "C" NOT NULL
    CONSTRAINT former_credentials_database_fkey
    REFERENCES former_databases (database_name) ON DELETE CASCADE,
    service text NOT NULL,
    role_name text NOT NULL,
    sealing_key_id text NOT NULL,
    sealed_password bytea NOT NULL,
    CONSTRAINT former_credentials_pkey PRIMARY KEY (database_name, service)
);
COMMENT ON TABLE former_credentials IS
'Passwords of those databases'' roles, sealed as tenant_credentials are.';
