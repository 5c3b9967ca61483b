-- The versions of a schema. The table is in the schema itself, and so in every dump of it.

CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer NOT NULL CONSTRAINT schema_migrations_pkey PRIMARY KEY,
    name text NOT NULL,
    checksum bytea NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE schema_migrations IS 'The migrations that this schema has, each with its SHA-256.';
