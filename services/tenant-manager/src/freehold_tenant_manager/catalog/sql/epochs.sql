-- The continuous archive, and restores. Each restore begins an epoch, with a history of its own.
-- What was before the instant it begins at is its parent's.

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
    leased_by uuid,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    due_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_epochs_pkey PRIMARY KEY (tenant_id, epoch)
);
COMMENT ON TABLE tenant_epochs IS
'Where each history of a tenant began, and how far it has been archived.';
COMMENT ON COLUMN tenant_epochs.started_at IS 'When it became the tenant''s ledger.';
COMMENT ON COLUMN tenant_epochs.start_at IS 'The instant that its parent was restored to.';
COMMENT ON COLUMN tenant_epochs.start_seq IS
'The last event that it has in common with its parent.';
COMMENT ON COLUMN tenant_epochs.start_change IS
'The last change of rules that it has in common with its parent.';
COMMENT ON COLUMN tenant_epochs.archived_hash IS
'The hash at archived_seq. A ledger with another hash there is not archived any further.';
COMMENT ON COLUMN tenant_epochs.fault IS
'Why the last attempt to archive it failed; null if it did not.';
COMMENT ON COLUMN tenant_epochs.leased_by IS 'The process that archives now.';
COMMENT ON COLUMN tenant_epochs.due_at IS
'When it is archived even if no doorbell rings.';
CREATE INDEX tenant_epochs_due_idx ON tenant_epochs (due_at);

CREATE TABLE retired_databases (
    database_name text COLLATE "C" NOT NULL CONSTRAINT retired_databases_pkey PRIMARY KEY,
    tenant_id text COLLATE "C" NOT NULL
    CONSTRAINT retired_databases_tenant_fkey REFERENCES tenants (tenant_id),
    kind text NOT NULL
    CONSTRAINT retired_databases_kind CHECK (kind IN ('making', 'preview', 'former')),
    epoch bigint NOT NULL,
    restored_to timestamptz,
    operation_id uuid,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE retired_databases IS
'Databases that restores leave: retired ones, previews, and those still being made.';
COMMENT ON COLUMN retired_databases.epoch IS
'A retired database''s own epoch; for the others the epoch that the restore begins.';
CREATE INDEX retired_databases_tenant_idx ON retired_databases (tenant_id, created_at);
