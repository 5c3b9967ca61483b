-- The one role that a fresh Postgres must have before Freehold starts: tenant-manager's. It makes
-- databases and roles, and everything else that there is; it is not a superuser and cannot become
-- one. Its password comes in the setting freehold.tenant_manager_password. Safe to run again: the
-- role is then given the password anew.
DO $$
DECLARE
    attributes text := format(
        'LOGIN CREATEDB CREATEROLE NOSUPERUSER NOREPLICATION NOBYPASSRLS PASSWORD %L',
        current_setting('freehold.tenant_manager_password')
    );
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'freehold_tenant_manager') THEN
        EXECUTE 'ALTER ROLE freehold_tenant_manager ' || attributes;
    ELSE
        EXECUTE 'CREATE ROLE freehold_tenant_manager ' || attributes;
    END IF;
END
$$;

-- A fresh server lets everybody into these two, tenants' roles among them.
REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM public;
GRANT CONNECT ON DATABASE postgres TO freehold_tenant_manager;
