-- Drops a tenant's roles, after their database. Reads the setting freehold.role_prefix.

DO $$
DECLARE
    role_name text;
BEGIN
    FOR role_name IN
        SELECT current_setting('freehold.role_prefix') || '_' || s.suffix
        FROM unnest('{owner,ingest,projector,query,auditor,backup}'::text []) AS s (suffix)
    LOOP
        EXECUTE format('DROP ROLE IF EXISTS %I', role_name);
    END LOOP;
END
$$;
