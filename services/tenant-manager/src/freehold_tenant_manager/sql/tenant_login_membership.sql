-- Makes us a member of each of a tenant's login roles, as far as there are any: only so may we end
-- their sessions. It lasts until the roles are dropped. Reads the setting freehold.role_prefix.

DO $$
DECLARE
    role_name text;
BEGIN
    FOR role_name IN
        SELECT r.rolname
        FROM unnest('{ingest,projector,query,auditor,backup}'::text []) AS s (suffix)
        INNER JOIN pg_roles AS r
            ON r.rolname = current_setting('freehold.role_prefix') || '_' || s.suffix
    LOOP
        EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
    END LOOP;
END
$$;
