-- Databases made ahead of their tenants. A new tenant is given one, with its roles, in the
-- transaction that makes the tenant.

CREATE TABLE pool_databases (
    database_name text NOT NULL CONSTRAINT pool_databases_pkey PRIMARY KEY,
    cluster text NOT NULL CONSTRAINT pool_databases_cluster_fkey REFERENCES clusters (cluster),
    made_as text NOT NULL,
    is_ready boolean NOT NULL DEFAULT false,
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE pool_databases IS 'Databases that belong to no tenant yet.';
COMMENT ON COLUMN pool_databases.made_as IS
'A digest of the SQL and settings that made it. A release with another digest does not hand it '
'out.';
COMMENT ON COLUMN pool_databases.is_ready IS
'False while it is made or dropped. Where no process does either, it is to be dropped.';
