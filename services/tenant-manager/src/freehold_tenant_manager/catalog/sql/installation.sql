-- What the catalog knows of itself. It is shipped to the storage, and recovered from there where
-- the server is lost.

CREATE TABLE installation (
    is_only boolean NOT NULL DEFAULT true CONSTRAINT installation_pkey PRIMARY KEY
    CONSTRAINT installation_is_only CHECK (is_only),
    storage_id uuid,
    is_storage_marked boolean NOT NULL DEFAULT false,
    shipped_version bigint NOT NULL DEFAULT 0,
    shipped_at timestamptz,
    recovered_version bigint
);
COMMENT ON TABLE installation IS 'What this catalog knows of itself: one row.';
COMMENT ON COLUMN installation.storage_id IS
'The storage has it, too. A storage without it is not mounted, or is another installation''s.';
COMMENT ON COLUMN installation.shipped_at IS 'When the version was read that was stored last.';
COMMENT ON COLUMN installation.recovered_version IS
'The version that this catalog was recovered from; null: it was never lost.';

INSERT INTO installation DEFAULT VALUES;

CREATE TABLE unshipped_changes (
    change_id bigint GENERATED ALWAYS AS IDENTITY
    CONSTRAINT unshipped_changes_pkey PRIMARY KEY,
    changed_at timestamptz NOT NULL
);
COMMENT ON TABLE unshipped_changes IS
'Changes that no stored version has yet, each recorded in its own transaction.';
