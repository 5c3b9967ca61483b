-- Lets the services back into a tenant's database. Reads the setting freehold.role_prefix, which is
-- also the database's name.

DO $$
DECLARE
    prefix CONSTANT text := current_setting('freehold.role_prefix');
BEGIN
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO %I, %I, %I', prefix,
        prefix || '_ingest', prefix || '_projector', prefix || '_query'
    );
END
$$;
