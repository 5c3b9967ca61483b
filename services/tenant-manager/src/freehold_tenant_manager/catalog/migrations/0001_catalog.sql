-- The catalog: who the tenants are, where their ledgers live, and who may use them. The services
-- read it through views that show each of them only what is its own.

CREATE TABLE clusters (
    cluster text NOT NULL CONSTRAINT clusters_pkey PRIMARY KEY,
    region text NOT NULL,
    host text NOT NULL,
    port integer NOT NULL
);
COMMENT ON TABLE clusters IS 'Postgres servers that tenants'' databases live on.';

CREATE TABLE tenants (
    tenant_id text COLLATE "C" NOT NULL CONSTRAINT tenants_pkey PRIMARY KEY,
    name text NOT NULL,
    region text NOT NULL,
    isolation text NOT NULL CONSTRAINT tenants_isolation CHECK (isolation IN ('database')),
    status text NOT NULL CONSTRAINT tenants_status CHECK (status IN ('provisioning', 'active')),
    epoch bigint NOT NULL DEFAULT 1,
    cluster text NOT NULL CONSTRAINT tenants_cluster_fkey REFERENCES clusters (cluster),
    database_name text NOT NULL CONSTRAINT tenants_database_name_key UNIQUE,
    schema_name text NOT NULL,
    schema_version integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN tenants.database_name IS
'Opaque, since names leak through the system catalogs; also the prefix of the tenant''s roles.';
COMMENT ON COLUMN tenants.epoch IS 'Counts the tenant''s restores.';

CREATE TABLE tenant_credentials (
    tenant_id text COLLATE "C" NOT NULL
    CONSTRAINT tenant_credentials_tenant_fkey REFERENCES tenants (tenant_id),
    service text NOT NULL
    CONSTRAINT tenant_credentials_service
    CHECK (service IN ('ingest', 'projector', 'query', 'auditor')),
    role_name text NOT NULL,
    sealing_key_id text NOT NULL,
    sealed_password bytea NOT NULL,
    CONSTRAINT tenant_credentials_pkey PRIMARY KEY (tenant_id, service)
);
COMMENT ON COLUMN tenant_credentials.sealed_password IS
'AES-256-GCM under the key named by sealing_key_id, bound to the role''s name.';

CREATE TABLE api_keys (
    key_id text COLLATE "C" NOT NULL CONSTRAINT api_keys_pkey PRIMARY KEY,
    tenant_id text COLLATE "C" NOT NULL
    CONSTRAINT api_keys_tenant_fkey REFERENCES tenants (tenant_id),
    secret_hash bytea NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
COMMENT ON COLUMN api_keys.secret_hash IS 'SHA-256 of a 256-bit random secret.';
CREATE INDEX api_keys_tenant_idx ON api_keys (tenant_id, created_at);

-- The relay: which ingest instances live, and for which tenants each may have committed events that
-- it has not announced yet. A mark is written before the first append and removed when idle, so
-- after a crash only the dead instance's marks need a look, never every tenant.

CREATE TABLE ingest_instances (
    instance_id uuid NOT NULL CONSTRAINT ingest_instances_pkey PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE announcement_marks (
    instance_id uuid NOT NULL
    CONSTRAINT announcement_marks_instance_fkey
    REFERENCES ingest_instances (instance_id) ON DELETE CASCADE,
    tenant_id text COLLATE "C" NOT NULL
    CONSTRAINT announcement_marks_tenant_fkey REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    CONSTRAINT announcement_marks_pkey PRIMARY KEY (instance_id, tenant_id)
);

-- The proof kept outside: the last head that each ledger was seen to have, and what the last
-- reconciliation found.

CREATE TABLE reconciliations (
    tenant_id text COLLATE "C" NOT NULL CONSTRAINT reconciliations_pkey PRIMARY KEY
    CONSTRAINT reconciliations_tenant_fkey REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    due_at timestamptz NOT NULL DEFAULT now(),
    reconciled_at timestamptz,
    findings jsonb NOT NULL DEFAULT '[]',
    anchor_seq bigint NOT NULL DEFAULT 0,
    anchor_hash bytea
);
COMMENT ON TABLE reconciliations IS 'When each tenant is reconciled next, and what was found last.';
COMMENT ON COLUMN reconciliations.anchor_hash IS
'The hash the ledger had at anchor_seq. A ledger rewritten or cut since no longer has it.';
CREATE INDEX reconciliations_due_idx ON reconciliations (due_at);

-- Changes reach the services' caches by LISTEN/NOTIFY: "tenant:<id>" or "key:<id>".

CREATE FUNCTION announce_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM pg_notify(
        'freehold_catalog',
        CASE TG_TABLE_NAME WHEN 'api_keys' THEN 'key:' ELSE 'tenant:' END
        || CASE TG_TABLE_NAME
            WHEN 'api_keys' THEN to_jsonb(coalesce(NEW, OLD)) ->> 'key_id'
            ELSE to_jsonb(coalesce(NEW, OLD)) ->> 'tenant_id'
        END
    );
    RETURN NULL;
END
$$;

CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE ON tenants
FOR EACH ROW EXECUTE FUNCTION announce_change();
CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE ON tenant_credentials
FOR EACH ROW EXECUTE FUNCTION announce_change();
CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE ON api_keys
FOR EACH ROW EXECUTE FUNCTION announce_change();

-- What the services see: where each tenant lives, with their own credential for it and no other's.
-- Behind the barrier, no function in a query's own conditions is run on the rows of others.

CREATE VIEW service_homes WITH (security_barrier) AS
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
    r.sealed_password
FROM tenants AS t
INNER JOIN clusters AS c ON t.cluster = c.cluster
INNER JOIN tenant_credentials AS r ON t.tenant_id = r.tenant_id
WHERE current_user = 'freehold_' || r.service AND t.status = 'active';

CREATE VIEW service_api_keys WITH (security_barrier) AS
SELECT
    k.key_id,
    k.tenant_id,
    k.secret_hash,
    k.scopes,
    k.expires_at
FROM api_keys AS k
WHERE k.revoked_at IS NULL; -- noqa: CP04
