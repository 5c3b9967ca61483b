-- Databases made ahead of their tenants. Whoever is made is given one, with its roles and their
-- passwords, in the transaction that makes them.

CREATE TABLE pool_databases (
    database_name text NOT NULL CONSTRAINT pool_databases_pkey PRIMARY KEY,
    cluster text NOT NULL CONSTRAINT pool_databases_cluster_fkey REFERENCES clusters (cluster),
    made_as text NOT NULL,
    is_ready boolean NOT NULL DEFAULT false,
    noted_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE pool_databases IS 'Databases that belong to no tenant yet.';
COMMENT ON COLUMN pool_databases.made_as IS
'Names all that it was made with. A release that makes them otherwise does not hand it out.';
COMMENT ON COLUMN pool_databases.is_ready IS
'False while it is made, and while it is dropped: where nobody works on it, it is to be dropped.';

CREATE TABLE pool_credentials (
    database_name text NOT NULL
    CONSTRAINT pool_credentials_database_fkey
    REFERENCES pool_databases (database_name) ON DELETE CASCADE,
    service text NOT NULL,
    role_name text NOT NULL,
    sealing_key_id text NOT NULL,
    sealed_password bytea NOT NULL,
    CONSTRAINT pool_credentials_pkey PRIMARY KEY (database_name, service)
);
COMMENT ON TABLE pool_credentials IS 'As tenant_credentials, for those who are still to come.';
