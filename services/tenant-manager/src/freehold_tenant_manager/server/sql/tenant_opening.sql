-- Lets a tenant's roles into their database, and no other role. It was made closed, and opens in
-- the transaction that takes PUBLIC's rights away. Roles that tenant_fence.sql kept out are let in
-- again. Reads the settings freehold.role_prefix, which is also the database's name, and
-- freehold.services: the roles' suffixes, separated by commas.

DO $$
DECLARE
    prefix CONSTANT text := current_setting('freehold.role_prefix');
    login_role text;
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', prefix);
    FOR login_role IN
        SELECT r.rolname
        FROM unnest(string_to_array(current_setting('freehold.services'), ',')) AS l (service)
        INNER JOIN pg_roles AS r ON r.rolname = prefix || '_' || l.service
    LOOP
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', prefix, login_role);
    END LOOP;
    EXECUTE format('ALTER DATABASE %I ALLOW_CONNECTIONS true', prefix);
END
$$;
