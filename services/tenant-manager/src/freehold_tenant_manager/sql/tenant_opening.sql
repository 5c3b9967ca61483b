-- Lets a tenant's roles into their database, and nobody else: it was made closed, and opens in the
-- same transaction that takes PUBLIC's rights away. Reads freehold.role_prefix, which is also the
-- database's name.

DO $$
DECLARE
    prefix CONSTANT text := current_setting('freehold.role_prefix');
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', prefix);
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO %I, %I, %I, %I, %I', prefix,
        prefix || '_ingest', prefix || '_projector', prefix || '_query', prefix || '_auditor',
        prefix || '_backup'
    );
    EXECUTE format('ALTER DATABASE %I ALLOW_CONNECTIONS true', prefix);
END
$$;
