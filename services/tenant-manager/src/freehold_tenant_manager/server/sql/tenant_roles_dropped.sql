-- Drops a tenant's roles, after their database. Reads the settings freehold.role_prefix and
-- freehold.services.

DO $$
DECLARE
    role_name text;
BEGIN
    FOR role_name IN
        SELECT current_setting('freehold.role_prefix') || '_' || s.suffix
        FROM unnest(
            string_to_array(current_setting('freehold.services') || ',owner', ',')
        ) AS s (suffix)
    LOOP
        EXECUTE format('DROP ROLE IF EXISTS %I', role_name);
    END LOOP;
END
$$;
