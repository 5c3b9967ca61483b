-- A tenant's roles: the owner, which cannot log in, and one login role per service. A second run
-- sets the same passwords again. Reads the settings freehold.role_prefix and
-- freehold.verifier_<service>: the passwords' verifiers as the server stores them.

DO $$
DECLARE
    prefix CONSTANT text := current_setting('freehold.role_prefix');
    login record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = prefix || '_owner') THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', prefix || '_owner');
    END IF;
    FOR login IN
        SELECT
            prefix || '_' || l.service AS role_name,
            l.connections,
            current_setting('freehold.verifier_' || l.service) AS verifier
        FROM (
            -- A service has a few connections to a tenant per replica. tenant-manager and the
            -- customer need few: for overviews, for dumps and the archive, for a person.
            VALUES
            ('ingest', 100), ('projector', 100), ('query', 100), ('manager', 10), ('backup', 10),
            ('auditor', 10)
        ) AS l (service, connections)
        -- What an earlier release began to make has not the roles of this one.
        WHERE current_setting('freehold.verifier_' || l.service, true) <> ''
    LOOP
        EXECUTE format(
            '%s ROLE %I LOGIN CONNECTION LIMIT %s PASSWORD %L',
            CASE
                WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = login.role_name) THEN 'ALTER'
                ELSE 'CREATE'
            END,
            login.role_name, login.connections, login.verifier
        );
    END LOOP;
    -- It exports snapshots; the server's bootstrap takes that right from PUBLIC.
    IF to_regrole('freehold_service') IS NOT NULL THEN
        EXECUTE format('GRANT freehold_service TO %I', prefix || '_backup');
    END IF;
END
$$;
