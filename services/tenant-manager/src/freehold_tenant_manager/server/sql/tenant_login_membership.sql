-- Makes our role a member of a tenant's existing login roles, which ending their sessions requires.
-- It lasts until the roles are dropped. Reads the settings freehold.role_prefix and
-- freehold.services: the roles' suffixes, separated by commas.

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
    END LOOP;
END
$$;
