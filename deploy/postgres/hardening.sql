-- Takes from PUBLIC, in one database, what Postgres lets everybody do and a customer must not: what
-- fills the server's disk, log or lock table, and what shows the activity of others. A
-- superuser runs it; safe to run again. Rights that a role needs are given to that role alone:
-- freehold_service works in tenants' databases, pg_read_all_stats belongs to monitoring.
--
-- What a customer can still do is listed, with a reason, in
-- tests/integration/tenant_manager/customer_rights.txt.

-- CREATE RULE, DROP and others lock a table before they find that they are not allowed, and later
-- sessions wait for that lock: for pg_authid's, the whole server. Customers' sessions are refused
-- before such a statement begins. Statements on databases and roles fire no such trigger:
-- tenant-manager watches those.
CREATE SCHEMA IF NOT EXISTS freehold;

CREATE OR REPLACE FUNCTION freehold.refuse_customers() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF session_user ~ '^fh_[0-9a-f]+_auditor$' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = format('permission denied for %s: this role reads only', tg_tag);
    END IF;
END
$$;

DO $$
DECLARE
    taken record;
BEGIN
    FOR taken IN
        SELECT DISTINCT ON (p.oid)
            p.oid::regprocedure AS signature,
            t.keeper
        FROM (
            VALUES
            -- Large objects are data that no export holds.
            ('{lo\_%,loread,lowrite}'::text [], NULL),
            -- Written to the write-ahead log or to the one queue of the server, without any bound.
            ('{pg\_logical\_emit\_message}', NULL),
            ('{pg\_notify}', 'freehold_service'),
            -- A number of a writing transaction for each call.
            ('{pg\_current\_xact\_id,txid\_current}', NULL),
            -- Locks of the one lock table, and files of snapshots. Drivers call
            -- pg_advisory_unlock_all whenever a session is given back.
            ('{pg\_advisory\_lock%,pg\_advisory\_xact%,pg\_try\_advisory%}', 'freehold_service'),
            ('{pg\_export\_snapshot}', 'freehold_service'),
            -- Sessions, locks and transactions of others.
            (
                '{pg\_stat\_get\_activity,pg\_stat\_get\_backend\_%,pg\_stat\_get\_progress\_info,'
                'pg\_stat\_get\_wal\_%,pg\_stat\_get\_subscription%,pg\_lock\_status,'
                'pg\_prepared\_xact,pg\_blocking\_pids,pg\_safe\_snapshot\_blocking\_pids,'
                'pg\_get\_multixact\_members,pg\_last\_committed\_xact,'
                'pg\_xact\_commit\_timestamp%,pg\_get\_replication\_slots,'
                'pg\_isolation\_test\_session\_is\_blocked}',
                'pg_read_all_stats'
            ),
            -- Counters of other databases, and those of the server that add all of them up.
            (
                '{pg\_stat\_get\_db\_%,pg\_stat\_get\_bgwriter\_%,pg\_stat\_get\_checkpointer\_%,'
                'pg\_stat\_get\_checkpoint\_%,pg\_stat\_get\_buf\_%,pg\_stat\_get\_archiver,'
                'pg\_stat\_get\_io,pg\_stat\_get\_wal,pg\_stat\_get\_slru,'
                'pg\_stat\_get\_recovery\_prefetch,pg\_stat\_get\_replication\_slot,'
                'pg\_current\_wal\_%,pg\_last\_wal\_%,pg\_last\_xact\_%,pg\_control\_%,'
                'pg\_available\_wal\_summaries,pg\_wal\_summary\_contents,'
                'pg\_get\_wal\_summarizer\_state,pg\_notification\_queue\_usage,'
                'pg\_tablespace\_size,pg\_tablespace\_databases}',
                'pg_read_all_stats'
            )
        ) AS t (patterns, keeper)
        INNER JOIN pg_proc AS p ON p.proname LIKE ANY (t.patterns)
        WHERE
            p.pronamespace = 'pg_catalog'::regnamespace
            AND has_function_privilege('public', p.oid, 'EXECUTE')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', taken.signature);
        IF taken.keeper IS NOT NULL THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', taken.signature, taken.keeper);
        END IF;
    END LOOP;

    -- The views above them, so that the refusal says what is refused.
    FOR taken IN
        SELECT c.oid::regclass AS name
        FROM pg_class AS c
        WHERE
            c.relnamespace = 'pg_catalog'::regnamespace
            AND c.relname LIKE ANY (
                '{pg\_stat\_activity,pg\_stat\_database%,pg\_stat\_bgwriter,pg\_stat\_checkpointer,'
                'pg\_stat\_archiver,pg\_stat\_io,pg\_stat\_wal%,pg\_stat\_slru,pg\_stat\_ssl,'
                'pg\_stat\_gssapi,pg\_stat\_replication%,pg\_stat\_recovery\_prefetch,'
                'pg\_stat\_progress\_%,pg\_stat\_subscription%,pg\_locks,pg\_prepared\_xacts,'
                'pg\_replication\_slots}'::text []
            )
            AND has_table_privilege('public', c.oid, 'SELECT')
    LOOP
        EXECUTE format('REVOKE SELECT ON %s FROM PUBLIC', taken.name);
        EXECUTE format('GRANT SELECT ON %s TO pg_read_all_stats', taken.name);
    END LOOP;

    EXECUTE 'REVOKE EXECUTE ON FUNCTION freehold.refuse_customers() FROM PUBLIC';
    EXECUTE 'DROP EVENT TRIGGER IF EXISTS freehold_refuse_customers';
    EXECUTE 'CREATE EVENT TRIGGER freehold_refuse_customers ON ddl_command_start'
        ' EXECUTE FUNCTION freehold.refuse_customers()';

    -- A role that may update a view may lock it, and so block all readers of settings.
    REVOKE UPDATE ON pg_settings FROM PUBLIC;

    -- A DO block can do all of what is refused above for a statement's length, and fill the log.
    REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
    GRANT USAGE ON LANGUAGE plpgsql TO freehold_service;

    -- Whole from now on: tenant-manager makes its template of it, and only superusers enter it.
    IF current_database() = 'freehold_base' THEN
        REVOKE ALL ON DATABASE freehold_base FROM PUBLIC;
        ALTER DATABASE freehold_base WITH IS_TEMPLATE true;
    END IF;
END
$$;
