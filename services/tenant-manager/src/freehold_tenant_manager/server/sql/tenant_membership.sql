-- Makes our role a member of a tenant's owner role, if it exists, which dropping the database
-- requires. The owner gets the rights to make functions and to take locks, which the server's
-- bootstrap takes from PUBLIC. Reads the setting freehold.role_prefix.

DO $$
DECLARE
    owner_name CONSTANT text := current_setting('freehold.role_prefix') || '_owner';
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = owner_name) THEN
        EXECUTE format('GRANT %I TO CURRENT_USER', owner_name);
        IF to_regrole('freehold_service') IS NOT NULL THEN
            EXECUTE format('GRANT freehold_service TO %I', owner_name);
        END IF;
    END IF;
END
$$;
