-- Ends our role's membership in a tenant's owner role. Reads the setting freehold.role_prefix.

DO $$
DECLARE
    owner_name CONSTANT text := current_setting('freehold.role_prefix') || '_owner';
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = owner_name) THEN
        EXECUTE format('REVOKE %I FROM CURRENT_USER', owner_name);
    END IF;
END
$$;
