-- Keeps the services out of a tenant's database, and ends those who are in it: what they had not
-- committed by then is not. We become a member of their roles for that, and leave them again. Reads
-- the setting freehold.role_prefix, which is also the database's name.

DO $$
DECLARE
    prefix CONSTANT text := current_setting('freehold.role_prefix');
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY
        ARRAY[prefix || '_ingest', prefix || '_projector', prefix || '_query']
    LOOP
        EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM %I', prefix, role_name);
        EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        PERFORM pg_terminate_backend(a.pid) FROM pg_stat_activity AS a
        WHERE a.datname = prefix AND a.usename = role_name;
        EXECUTE format('REVOKE %I FROM CURRENT_USER', role_name);
    END LOOP;
END
$$;
