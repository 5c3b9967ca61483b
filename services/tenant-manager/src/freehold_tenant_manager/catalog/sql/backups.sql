-- What the storage has of each tenant, and the keys it is encrypted with.

CREATE TABLE data_keys (
    tenant_id text COLLATE "C" NOT NULL CONSTRAINT data_keys_pkey PRIMARY KEY
    CONSTRAINT data_keys_tenant_fkey REFERENCES tenants (tenant_id),
    wrapping_key_id text NOT NULL,
    wrapped_key bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    is_stored boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE data_keys IS
'The key that a tenant''s objects in storage are encrypted with. Without its row they are noise.';
COMMENT ON COLUMN data_keys.wrapped_key IS
'Wrapped by the key management under the key named by wrapping_key_id, bound to the tenant.';
COMMENT ON COLUMN data_keys.is_stored IS
'Whether the storage has the key as well, wrapped. It is not used before.';

CREATE TABLE backups (
    backup_id uuid NOT NULL CONSTRAINT backups_pkey PRIMARY KEY,
    tenant_id text COLLATE "C" NOT NULL
    CONSTRAINT backups_tenant_fkey REFERENCES tenants (tenant_id),
    status text NOT NULL DEFAULT 'making'
    CONSTRAINT backups_status CHECK (status IN ('making', 'complete', 'damaged', 'deleting')),
    object_path text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    schema_version integer NOT NULL,
    head_seq bigint NOT NULL,
    head_hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    bytes bigint,
    sha256 text,
    verified_at timestamptz,
    CONSTRAINT backups_complete CHECK (status <> 'complete' OR num_nulls(bytes, sha256) = 0)
);
COMMENT ON TABLE backups IS
'Dumps of tenants'' ledgers in storage. One is made only once its bytes are there whole.';
COMMENT ON COLUMN backups.status IS
'making: being written, or left by a crash; damaged: a verification failed; deleting: may be gone.';
COMMENT ON COLUMN backups.head_seq IS 'Where the ledger ended in the snapshot that was dumped.';
COMMENT ON COLUMN backups.sha256 IS 'Of the stored bytes, which are encrypted; in hex.';
CREATE INDEX backups_tenant_idx ON backups (tenant_id, created_at);

CREATE TABLE final_exports (
    tenant_id text COLLATE "C" NOT NULL CONSTRAINT final_exports_pkey PRIMARY KEY
    CONSTRAINT final_exports_tenant_fkey REFERENCES tenants (tenant_id),
    object_path text NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 text NOT NULL,
    backup_id uuid NOT NULL,
    exported_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE final_exports IS
'The whole ledger of each deleted tenant, as SQL, compressed and encrypted in the storage.';
COMMENT ON COLUMN final_exports.backup_id IS 'Of the final backup, made of the same ledger.';
