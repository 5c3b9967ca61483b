-- A service's own login role in the catalog, made or given its password. Reads the settings
-- freehold.role, and freehold.verifier: the password as the server keeps it.

DO $$
DECLARE
    role_name CONSTANT text := current_setting('freehold.role');
    verifier CONSTANT text := current_setting('freehold.verifier');
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
        EXECUTE format('CREATE ROLE %I LOGIN', role_name);
    END IF;
    EXECUTE format('ALTER ROLE %I LOGIN PASSWORD %L', role_name, verifier);
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role_name);
END
$$;
