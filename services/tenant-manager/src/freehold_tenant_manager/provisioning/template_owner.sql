-- The role that owns everything in template databases, until a tenant's own role takes over. Our
-- role stays its member, as REASSIGN OWNED requires. Reads the setting freehold.template_owner.

DO $$
DECLARE
    role_name CONSTANT text := current_setting('freehold.template_owner');
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
    END IF;
    IF NOT pg_has_role(current_user, role_name, 'USAGE') THEN
        EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
    END IF;
    -- It makes functions; the server's bootstrap takes that right from PUBLIC.
    IF to_regrole('freehold_service') IS NOT NULL THEN
        EXECUTE format('GRANT freehold_service TO %I', role_name);
    END IF;
END
$$;
