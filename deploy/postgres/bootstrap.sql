-- What a Postgres server must have before Freehold starts there, once for the whole server. Safe to
-- run again. A superuser runs all of it; on a managed server, which has none, what is refused
-- is named in a warning, and tenant-manager names at its start what is open for that reason.
--
-- Reads the settings freehold.tenant_manager_password and freehold.tenant_manager, the role's name,
-- which is freehold_tenant_manager where it is not set.

-- tenant-manager's role makes databases and roles. It is not a superuser and cannot become one.
DO $$
DECLARE
    manager CONSTANT text := coalesce(
        nullif(current_setting('freehold.tenant_manager', true), ''), 'freehold_tenant_manager'
    );
    existed CONSTANT boolean := to_regrole(quote_ident(manager)) IS NOT NULL;
BEGIN
    EXECUTE format(
        '%s ROLE %I LOGIN CREATEDB CREATEROLE PASSWORD %L',
        CASE WHEN existed THEN 'ALTER' ELSE 'CREATE' END,
        manager, current_setting('freehold.tenant_manager_password')
    );
    IF existed AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('ALTER ROLE %I NOSUPERUSER NOREPLICATION NOBYPASSRLS', manager);
    END IF;
END
$$;

-- What hardening.sql takes from PUBLIC, and what of ours works in a tenant's database, keeps by
-- being a member of freehold_service: a tenant's owner, who makes the ledger, and the role that
-- makes dumps. tenant-manager makes later ones members. No customer's role is one.
DO $$
DECLARE
    member text;
BEGIN
    IF to_regrole('freehold_service') IS NULL THEN
        CREATE ROLE freehold_service NOLOGIN;
    END IF;
    FOR member IN
        SELECT rolname FROM pg_roles
        WHERE rolname ~ '^fh_([0-9a-f]+_(owner|backup)|scratch_[0-9a-f]+_owner)$'
           OR rolname = 'freehold_template_owner'
    LOOP
        EXECUTE format('GRANT freehold_service TO %I', member);
    END LOOP;
END
$$;

-- tenant-manager's rights beyond its attributes. It looks at sessions of customers' roles and ends
-- those that hold up others; it bounds these roles where their sessions cannot lift the bound.
-- A fresh server lets everybody into the databases postgres and template1, customers among them.
DO $$
DECLARE
    manager CONSTANT text := coalesce(
        nullif(current_setting('freehold.tenant_manager', true), ''), 'freehold_tenant_manager'
    );
    statement text;
BEGIN
    FOREACH statement IN ARRAY ARRAY[
        'GRANT freehold_service TO %I WITH ADMIN OPTION',
        'GRANT pg_read_all_stats TO %I',
        'GRANT pg_signal_backend TO %I',
        'GRANT SET ON PARAMETER temp_file_limit, log_min_messages, log_min_error_statement TO %I',
        'GRANT CONNECT ON DATABASE postgres TO %I',
        'REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC'
    ] LOOP
        BEGIN
            EXECUTE format(statement, manager);
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING 'not done: %: %', format(statement, manager), sqlerrm;
        END;
    END LOOP;
END
$$;
