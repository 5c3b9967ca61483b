-- Names what customers can do on this server because its bootstrap (deploy/postgres) did not run,
-- or not as a superuser. One right stands for all that the bootstrap revokes together. It hardens
-- the tenants' databases in one run, and this one, the catalog's, last.

SELECT DISTINCT f.name
FROM (
    VALUES
    ('fill the disk with large objects, which no export holds', 'lo_create'),
    ('fill the disk with messages in the write-ahead log', 'pg_logical_emit_message'),
    ('fill the server''s queue of notifications by one query (pg_notify)', 'pg_notify'),
    ('fill the server''s lock table with advisory locks', 'pg_advisory_lock'),
    ('write snapshots to files (pg_export_snapshot)', 'pg_export_snapshot'),
    ('use up transaction numbers by one query (pg_current_xact_id)', 'pg_current_xact_id'),
    ('see sessions and locks of other tenants (pg_stat_activity)', 'pg_stat_get_activity'),
    ('see counters of other databases (pg_stat_database)', 'pg_stat_get_db_xact_commit')
) AS f (name, taken)
INNER JOIN pg_proc AS p ON f.taken = p.proname
WHERE
    p.pronamespace = 'pg_catalog'::regnamespace
    AND has_function_privilege('public', p.oid, 'EXECUTE')
UNION ALL
SELECT r.name
FROM (
    VALUES
    ('run code in plpgsql (DO)', has_language_privilege('public', 'plpgsql', 'USAGE')),
    (
        'hold up others with statements that lock before they are refused (CREATE RULE)',
        NOT EXISTS (
            SELECT FROM pg_event_trigger AS e
            WHERE e.evtname = 'freehold_refuse_customers' AND e.evtenabled <> 'D'
        )
    ),
    (
        'fill the disk with temporary files: temp_file_limit cannot be set for them',
        NOT has_parameter_privilege('temp_file_limit', 'SET')
    ),
    (
        'fill the log: log_min_messages and log_min_error_statement cannot be set for them',
        NOT (
            has_parameter_privilege('log_min_messages', 'SET')
            AND has_parameter_privilege('log_min_error_statement', 'SET')
        )
    ),
    (
        'leave prepared transactions, whose locks last: max_prepared_transactions is not 0',
        current_setting('max_prepared_transactions')::integer > 0
    )
) AS r (name, is_open)
WHERE r.is_open;
