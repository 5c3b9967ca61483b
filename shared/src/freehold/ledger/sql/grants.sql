-- Each role's rights in a tenant's database. The owner runs this after every migration; it is safe
-- to repeat. The roles' common prefix is the setting freehold.role_prefix; the schema is
-- search_path's first. Each role may execute its own functions and nothing else. Two roles read
-- every table: the auditor, and backup, for dumps and the archive. A role that the tenant lacks is
-- left out.

DO $$
DECLARE
    prefix CONSTANT text := current_setting('freehold.role_prefix');
    home CONSTANT text := current_schema();
    allowed record;
    reader text;
BEGIN
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', home);
    FOR allowed IN
        SELECT prefix || '_' || a.service AS role_name, p.oid::regprocedure AS signature
        FROM (
            VALUES
            ('ingest', '{append,agreed_now,head,declare_event_type,close_event_types,'
                'declared_event_types,limit_account,limits_of}'::text []),
            ('projector', '{project,agreed_now,projection_lag,head,event_at,reconcile,'
                'reconcile_activity,reconcile_metadata,verify,rebuild,make_partitions,expire_holds,'
                'forget_expired_keys}'::text []),
            ('query', '{balances,strong_balances,list_balances,balance_before,balances_at,'
                'list_balances_at,balances_over_time,account_span,totals,events,event,event_at,'
                'event_proof,undoing,projection_lag,head,verify,reconcile,legs,hold_events,'
                'list_holds,limits_of,declared_event_types,changed_balances,statement_totals,'
                'statement_lines,activity,activity_span,searchable_keys,'
                'declare_searchable_metadata,agreed_now}'::text []),
            ('manager', '{event_at,seq_known_at,projection_lag,head,verify,reconcile,'
                'reconcile_activity,reconcile_metadata}'::text []),
            ('backup', '{head,verify,segment_end,segment_events,segment_keys,'
                'segment_rules}'::text []),
            ('auditor', '{balances,strong_balances,list_balances,balance_before,balances_at,'
                'list_balances_at,balances_over_time,account_span,totals,events,event,event_at,'
                'event_proof,undoing,projection_lag,head,verify,reconcile,event_bytes,utf8_length,'
                'canonical_json,legs,hold_events,list_holds,limits_of,declared_event_types,'
                'statement_totals,statement_lines,activity,activity_span,'
                'searchable_keys}'::text [])
        ) AS a (service, function_names)
        INNER JOIN pg_roles AS r ON r.rolname = prefix || '_' || a.service
        INNER JOIN pg_proc AS p ON p.proname = ANY (a.function_names)
        WHERE p.pronamespace = home::regnamespace
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', allowed.signature, allowed.role_name);
    END LOOP;
    FOR allowed IN
        SELECT r.rolname AS role_name
        FROM unnest('{ingest,projector,query,manager,backup,auditor}'::text []) AS a (service)
        INNER JOIN pg_roles AS r ON r.rolname = prefix || '_' || a.service
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', home, allowed.role_name);
    END LOOP;
    FOREACH reader IN ARRAY ARRAY[prefix || '_auditor', prefix || '_backup'] LOOP
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I', home, reader);
        -- And partitions that are made later: a dump needs every one.
        EXECUTE format(
            'ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO %I', home, reader
        );
    END LOOP;
END
$$;
