-- Revokes the rights that an earlier release gave to a tenant's login roles. It runs in the
-- transaction that gives this release's rights, so no session sees a role without rights. Reads the
-- settings freehold.role_prefix and freehold.services; the schema is the first of search_path.

DO $$
DECLARE
    login_role text;
BEGIN
    FOR login_role IN
        SELECT current_setting('freehold.role_prefix') || '_' || l.service
        FROM unnest(string_to_array(current_setting('freehold.services'), ',')) AS l (service)
    LOOP
        EXECUTE format(
            'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM %I', current_schema(), login_role
        );
        EXECUTE format(
            'REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', current_schema(), login_role
        );
    END LOOP;
END
$$;
