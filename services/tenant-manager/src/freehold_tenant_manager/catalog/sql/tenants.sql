-- Who the tenants are, where their ledgers live, and who may use them.

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
    status text NOT NULL
    CONSTRAINT tenants_status
    CHECK (status IN ('provisioning', 'active', 'suspended', 'deleting', 'deleted')),
    epoch bigint NOT NULL DEFAULT 1,
    cluster text NOT NULL CONSTRAINT tenants_cluster_fkey REFERENCES clusters (cluster),
    database_name text NOT NULL CONSTRAINT tenants_database_name_key UNIQUE,
    schema_name text NOT NULL,
    schema_version integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    ingest_events_per_s integer
    CONSTRAINT tenants_ingest_events_per_s CHECK (ingest_events_per_s > 0),
    ingest_requests_max integer
    CONSTRAINT tenants_ingest_requests_max CHECK (ingest_requests_max > 0),
    deleted_at timestamptz,
    services_version_min integer NOT NULL DEFAULT 0,
    recovering boolean NOT NULL DEFAULT false
);
COMMENT ON COLUMN tenants.database_name IS
'Opaque, since names leak through the system catalogs; also the prefix of the tenant''s roles.';
COMMENT ON COLUMN tenants.epoch IS 'Counts the tenant''s restores.';
COMMENT ON COLUMN tenants.ingest_events_per_s IS
'Events that one process of ingest takes in a second; null for what its settings say.';
COMMENT ON COLUMN tenants.ingest_requests_max IS
'Requests that one process of ingest works on at once; null for what its settings say.';
COMMENT ON COLUMN tenants.services_version_min IS
'The version that services must know: that of the last migration that took something away.';
COMMENT ON COLUMN tenants.recovering IS
'The server was lost, and this ledger is not brought back yet: no role can log in there.';
CREATE INDEX tenants_status_idx ON tenants (status, tenant_id);

CREATE TABLE credentials (
    database_name text COLLATE "C" NOT NULL,
    service text NOT NULL
    CONSTRAINT credentials_service
    CHECK (service IN ('ingest', 'projector', 'query', 'manager', 'backup', 'auditor')),
    sealing_key_id text NOT NULL,
    sealed_password bytea NOT NULL,
    CONSTRAINT credentials_pkey PRIMARY KEY (database_name, service)
);
COMMENT ON TABLE credentials IS
'Passwords of the roles <database_name>_<service>: of tenants'' databases, of the pool''s, and of '
'those that restores leave. They are forgotten with their database.';
COMMENT ON COLUMN credentials.sealed_password IS
'AES-256-GCM under the key named by sealing_key_id, bound to the role''s name.';

CREATE TABLE api_keys (
    key_id text COLLATE "C" NOT NULL CONSTRAINT api_keys_pkey PRIMARY KEY,
    tenant_id text COLLATE "C" NOT NULL
    CONSTRAINT api_keys_tenant_fkey REFERENCES tenants (tenant_id),
    secret_hash bytea NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    label text -- noqa: RF04
    CONSTRAINT api_keys_label CHECK (length(label) BETWEEN 1 AND 100)
);
COMMENT ON COLUMN api_keys.secret_hash IS 'SHA-256 of a 256-bit random secret.';
COMMENT ON COLUMN api_keys.label IS 'What people know the key by, such as what uses it.';
CREATE INDEX api_keys_tenant_idx ON api_keys (tenant_id, created_at);

CREATE TABLE sign_in_links (
    link_hash bytea NOT NULL CONSTRAINT sign_in_links_pkey PRIMARY KEY,
    key_id text COLLATE "C" NOT NULL
    CONSTRAINT sign_in_links_key_fkey REFERENCES api_keys (key_id) ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE sign_in_links IS
'Links that begin a session of an API key in a tenant''s console. Each is deleted when it is used.';
COMMENT ON COLUMN sign_in_links.link_hash IS 'SHA-256 of 256 random bits.';
CREATE INDEX sign_in_links_expires_idx ON sign_in_links (expires_at);
