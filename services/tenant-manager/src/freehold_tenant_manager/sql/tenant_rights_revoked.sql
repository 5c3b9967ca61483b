-- Takes from a tenant's login roles what an earlier release let them do. In the transaction that
-- gives them what this one does, nobody sees them without. Reads the setting freehold.role_prefix;
-- the schema is search_path's first.

DO $$
DECLARE
    login_role text;
BEGIN
    FOR login_role IN
        SELECT current_setting('freehold.role_prefix') || '_' || l.service
        FROM unnest('{ingest,projector,query,auditor,backup}'::text []) AS l (service)
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
