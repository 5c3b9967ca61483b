-- Tenants' lives: suspended, they ask for nothing and are looked after; deleted, their id stays
-- taken. Their keys, credentials and database are gone then, and the final export is left.

ALTER TABLE tenants
DROP CONSTRAINT tenants_status,
ADD CONSTRAINT tenants_status
CHECK (status IN ('provisioning', 'active', 'suspended', 'deleting', 'deleted')),
ADD COLUMN deleted_at timestamptz;
CREATE INDEX tenants_status_idx ON tenants (status, tenant_id);

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
    t.status
FROM tenants AS t
INNER JOIN clusters AS c ON t.cluster = c.cluster
INNER JOIN tenant_credentials AS r ON t.tenant_id = r.tenant_id
WHERE
    current_user = 'freehold_' || r.service
    AND t.status IN ('active', 'suspended', 'deleting');

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
