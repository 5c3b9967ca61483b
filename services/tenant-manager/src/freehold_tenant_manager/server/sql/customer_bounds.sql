-- Bounds the sessions of a tenant's customer. The first three bounds cannot be lifted, if the
-- server's bootstrap lets us set them: temporary files, and what is written to the server's log,
-- where errors would show whole statements. The others are defaults that a session may change;
-- tenant-manager ends sessions that then hold up others (customer_sessions.py). Reads the settings
-- freehold.role_prefix and freehold.customer_<name>: texts as SET takes them.

DO $$
DECLARE
    customer CONSTANT text := current_setting('freehold.role_prefix') || '_auditor';
    bound record;
BEGIN
    FOR bound IN
        SELECT
            b.name,
            b.setting
        FROM (
            VALUES
            ('temp_file_limit', current_setting('freehold.customer_temp_files')),
            ('log_min_messages', 'fatal'),
            ('log_min_error_statement', 'panic'),
            ('statement_timeout', current_setting('freehold.customer_transaction')),
            ('transaction_timeout', current_setting('freehold.customer_transaction')),
            (
                'idle_in_transaction_session_timeout',
                current_setting('freehold.customer_idle_in_transaction')
            ),
            ('idle_session_timeout', current_setting('freehold.customer_idle')),
            ('max_parallel_workers_per_gather', '0')
        ) AS b (name, setting)
        INNER JOIN pg_settings AS s ON s.name = b.name
        WHERE s.context = 'user' OR has_parameter_privilege(b.name, 'SET')
    LOOP
        EXECUTE format('ALTER ROLE %I SET %I TO %L', customer, bound.name, bound.setting);
    END LOOP;
END
$$;
