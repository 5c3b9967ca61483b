-- Keeps some of a tenant's roles out for good. Once this is committed and their sessions have
-- ended, no work of theirs can be under way. Our role becomes a member of each role, since only
-- members may end its sessions. Reads the settings freehold.role_prefix and freehold.services: the
-- roles' suffixes, separated by commas.

DO $$
DECLARE
    role_name text;
BEGIN
    FOR role_name IN
        SELECT r.rolname
        FROM unnest(string_to_array(current_setting('freehold.services'), ',')) AS s (suffix)
        INNER JOIN pg_roles AS r
            ON r.rolname = current_setting('freehold.role_prefix') || '_' || s.suffix
    LOOP
        EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        EXECUTE format('ALTER ROLE %I NOLOGIN', role_name);
    END LOOP;
END
$$;
