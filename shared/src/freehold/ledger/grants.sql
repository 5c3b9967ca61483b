-- Who may do what in a tenant's database. Run by the owner after every migration; safe to repeat.
-- The roles' common prefix is the setting freehold.role_prefix; the schema is search_path's first.
-- Service roles may execute their own functions and nothing else; the auditor reads everything,
-- and so does whoever makes dumps and the archive.

DO $$
DECLARE
    prefix CONSTANT text := current_setting('freehold.role_prefix');
    home CONSTANT text := current_schema();
    allowed record;
BEGIN
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', home);
    FOR allowed IN
        SELECT prefix || '_' || a.service AS role_name, p.oid::regprocedure AS signature
        FROM (
            VALUES
            ('ingest', '{append,head,written,legs,hold_events,declare_event_type,'
                'close_event_types,declared_event_types,limit_account,limits_of}'::text []),
            ('projector', '{project,projection_lag,head,event_at,reconcile,verify,rebuild,'
                'make_partitions,expire_holds,forget_expired_keys}'::text []),
            ('query', '{balances,strong_balances,list_balances,events,event,projection_lag,head,'
                'verify,reconcile,legs,hold_events,limits_of,declared_event_types}'::text []),
            ('backup', '{head,verify}'::text []),
            ('auditor', '{balances,strong_balances,list_balances,events,event,event_at,'
                'projection_lag,head,verify,reconcile,event_bytes,legs,hold_events,limits_of,'
                'declared_event_types}'::text [])
        ) AS a (service, function_names)
        INNER JOIN pg_proc AS p ON p.proname = ANY (a.function_names)
        WHERE p.pronamespace = home::regnamespace
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', allowed.signature, allowed.role_name);
    END LOOP;
    EXECUTE format(
        'GRANT USAGE ON SCHEMA %I TO %I, %I, %I, %I, %I', home,
        prefix || '_ingest', prefix || '_projector', prefix || '_query', prefix || '_auditor',
        prefix || '_backup'
    );
    EXECUTE format(
        'GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I, %I', home,
        prefix || '_auditor', prefix || '_backup'
    );
    -- And partitions that are made later: whoever makes a dump must be able to read every one.
    EXECUTE format(
        'ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO %I, %I',
        home, prefix || '_auditor', prefix || '_backup'
    );
END
$$;
