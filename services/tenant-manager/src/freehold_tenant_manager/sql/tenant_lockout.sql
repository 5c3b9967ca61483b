-- Keeps some of a tenant's roles out for good: when this has been committed and their sessions have
-- ended, nothing of theirs can be under way. We become a member of each, since only members may end
-- its sessions. Reads freehold.role_prefix, and freehold.locked_out: suffixes with commas between.

DO $$
DECLARE
    role_name text;
BEGIN
    FOR role_name IN
        SELECT r.rolname
        FROM unnest(string_to_array(current_setting('freehold.locked_out'), ',')) AS s (suffix)
        INNER JOIN pg_roles AS r
            ON r.rolname = current_setting('freehold.role_prefix') || '_' || s.suffix
    LOOP
        EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        EXECUTE format('ALTER ROLE %I NOLOGIN', role_name);
    END LOOP;
END
$$;
