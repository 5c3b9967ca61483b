-- A tenant's roles: the owner, who cannot log in, and one login role for each who works there. Run
-- again, it gives them the same passwords again. Reads the settings freehold.role_prefix and
-- freehold.verifier_<service>: the passwords as the server keeps them.

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
            -- A service has a few connections to a tenant for each replica; the auditor is a person.
            -- Dumps and the archive are as many again.
            VALUES
            ('ingest', 100), ('projector', 100), ('query', 100), ('auditor', 10), ('backup', 10)
        ) AS l (service, connections)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = login.role_name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', login.role_name);
        END IF;
        EXECUTE format(
            'ALTER ROLE %I CONNECTION LIMIT %s PASSWORD %L',
            login.role_name, login.connections, login.verifier
        );
    END LOOP;
END
$$;
