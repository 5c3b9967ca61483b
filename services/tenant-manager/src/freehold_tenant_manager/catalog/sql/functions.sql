-- Triggers' functions.

-- The services' caches hear of changes by LISTEN/NOTIFY: "tenant:<id>" or "key:<id>". Credentials
-- of a database that no tenant has concern none of them.
CREATE OR REPLACE FUNCTION announce_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    changed CONSTANT jsonb := to_jsonb(coalesce(NEW, OLD));
    notice CONSTANT text := CASE TG_TABLE_NAME
        WHEN 'api_keys' THEN 'key:' || (changed ->> 'key_id')
        WHEN 'tenants' THEN 'tenant:' || (changed ->> 'tenant_id')
        ELSE (
            SELECT 'tenant:' || t.tenant_id FROM tenants AS t
            WHERE t.database_name = changed ->> 'database_name'
        )
    END;
BEGIN
    IF notice IS NOT NULL THEN
        PERFORM pg_notify('freehold_catalog', notice);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION record_unshipped() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO unshipped_changes (changed_at) VALUES (clock_timestamp());
    RETURN NULL;
END
$$;

-- Versions have the credentials of tenants' databases only.
CREATE OR REPLACE FUNCTION record_unshipped_credential() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO unshipped_changes (changed_at)
    SELECT clock_timestamp() FROM tenants AS t
    WHERE t.database_name = to_jsonb(coalesce(NEW, OLD)) ->> 'database_name';
    RETURN NULL;
END
$$;
