-- Keeps some of a tenant's roles out of the database, and ends their sessions there; what these
-- have not committed is rolled back. Our role is a member of these roles meanwhile. Reads the
-- settings freehold.role_prefix, which is also the database's name, and freehold.services: the
-- roles' suffixes, separated by commas.

DO $$
DECLARE
    prefix CONSTANT text := current_setting('freehold.role_prefix');
    role_name text;
BEGIN
    FOR role_name IN
        SELECT prefix || '_' || s.suffix
        FROM unnest(string_to_array(current_setting('freehold.services'), ',')) AS s (suffix)
    LOOP
        EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM %I', prefix, role_name);
        EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        PERFORM pg_terminate_backend(a.pid) FROM pg_stat_activity AS a
        WHERE a.datname = prefix AND a.usename = role_name;
        EXECUTE format('REVOKE %I FROM CURRENT_USER', role_name);
    END LOOP;
END
$$;
