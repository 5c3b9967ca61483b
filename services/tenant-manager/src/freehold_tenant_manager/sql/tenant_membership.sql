-- Makes us a member of a tenant's owner role, if there is one: only so may we drop their database.
-- Reads the setting freehold.role_prefix.

DO $$
DECLARE
    owner_name CONSTANT text := current_setting('freehold.role_prefix') || '_owner';
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = owner_name) THEN
        EXECUTE format('GRANT %I TO CURRENT_USER', owner_name);
    END IF;
END
$$;
