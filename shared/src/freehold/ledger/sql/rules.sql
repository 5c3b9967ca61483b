-- Rules that a tenant sets for their own ledger: event types, account limits and settings, which
-- append keeps, and the searchable metadata keys, which project indexes. They change under the
-- writer lock, so each append is decided wholly by the old rules or wholly by the new ones. Events
-- that are there already stay.

CREATE OR REPLACE FUNCTION declare_event_type(
    new_event_type text, new_sign text, new_description text, event_types_max integer
) RETURNS SETOF event_types
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM FROM ledger_head FOR UPDATE;
    IF (SELECT count(*) FROM event_types AS t WHERE t.event_type <> new_event_type)
        >= event_types_max
    THEN
        RETURN;
    END IF;
    UPDATE ledger_settings SET with_event_types = true;
    RETURN QUERY
    INSERT INTO event_types AS t (event_type, sign, description)
    VALUES (new_event_type, new_sign, new_description)
    ON CONFLICT ON CONSTRAINT event_types_pkey DO UPDATE
    SET sign = excluded.sign,
        description = excluded.description
    RETURNING t.*;
END
$$;
COMMENT ON FUNCTION declare_event_type IS
'Declares an event type, or changes its declaration. Returns no row where event_types_max others '
'are declared.';

CREATE OR REPLACE FUNCTION close_event_types(closed boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM FROM ledger_head FOR UPDATE;
    UPDATE ledger_settings
    SET event_types_closed = closed,
        with_event_types = closed OR EXISTS (SELECT FROM event_types);
END
$$;
COMMENT ON FUNCTION close_event_types IS 'Refuses undeclared event types from now on, or not.';

CREATE OR REPLACE FUNCTION declared_event_types(OUT closed boolean, OUT event_types_json text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT s.event_types_closed,
        coalesce(
            (
                SELECT json_agg(
                    json_build_object(
                        'event_type', t.event_type, 'sign', t.sign, 'description', t.description
                    )
                    ORDER BY t.event_type
                )
                FROM event_types AS t
            ),
            '[]'
        )::text
    FROM ledger_settings AS s
$$;
COMMENT ON FUNCTION declared_event_types IS
'The declared event types in order of their names, and whether others are refused.';

CREATE OR REPLACE FUNCTION limit_account(
    limited_account_id text, limited_currency text, new_min_balance_minor bigint
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM FROM ledger_head FOR UPDATE;
    IF new_min_balance_minor IS NULL THEN
        DELETE FROM account_limits AS l
        WHERE l.account_id = limited_account_id AND l.currency = limited_currency::char(3);
    ELSE
        INSERT INTO account_limits (account_id, currency, min_balance_minor)
        VALUES (limited_account_id, limited_currency, new_min_balance_minor)
        ON CONFLICT ON CONSTRAINT account_limits_pkey DO UPDATE
        SET min_balance_minor = excluded.min_balance_minor;
    END IF;
    UPDATE ledger_settings
    SET with_account_limits = EXISTS (SELECT FROM account_limits);
END
$$;
COMMENT ON FUNCTION limit_account IS
'Sets how low an account''s available balance may be taken; null lifts the limit.';

CREATE OR REPLACE FUNCTION limits_of(limited_account_id text)
RETURNS TABLE (currency text, min_balance_minor bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT l.currency::text, l.min_balance_minor FROM account_limits AS l
    WHERE l.account_id = limited_account_id
    ORDER BY l.currency
$$;
COMMENT ON FUNCTION limits_of IS 'The limits of an account, in order of currency.';

CREATE OR REPLACE FUNCTION declare_searchable_metadata(new_keys text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM FROM ledger_head FOR UPDATE;
    DELETE FROM searchable_metadata AS m WHERE m.metadata_key <> ALL (new_keys);
    INSERT INTO searchable_metadata (metadata_key) SELECT unnest(new_keys)
    ON CONFLICT ON CONSTRAINT searchable_metadata_pkey DO NOTHING;
END
$$;
COMMENT ON FUNCTION declare_searchable_metadata IS
'Sets by which metadata keys events are searched: these and no others.';

CREATE OR REPLACE FUNCTION searchable_keys() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT m.metadata_key FROM searchable_metadata AS m ORDER BY m.metadata_key
$$;
COMMENT ON FUNCTION searchable_keys IS 'The searchable metadata keys, in their order.';

CREATE OR REPLACE FUNCTION rule_of(table_name text, stored jsonb)
RETURNS TABLE (kind text, subject text, terms jsonb)
LANGUAGE sql IMMUTABLE
AS $$
    SELECT 'event_type', stored ->> 'event_type', stored
    WHERE table_name = 'event_types'
    UNION ALL
    SELECT 'account_limit', (stored ->> 'account_id') || ' ' || (stored ->> 'currency'), stored
    WHERE table_name = 'account_limits'
    UNION ALL
    SELECT 'searchable_metadata', stored ->> 'metadata_key', stored
    WHERE table_name = 'searchable_metadata'
    UNION ALL
    SELECT 'settings', '', jsonb_build_object(
        'partition_span', stored -> 'partition_span',
        'idempotency_retention', stored -> 'idempotency_retention',
        'event_types_closed', stored -> 'event_types_closed'
    )
    WHERE table_name = 'ledger_settings'
$$;
COMMENT ON FUNCTION rule_of IS 'A row of a table of rules as rule_changes records it.';

CREATE OR REPLACE FUNCTION take_writer_lock() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM FROM ledger_head FOR UPDATE;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION record_rule_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    changed record;
BEGIN
    -- A rule that is set to what it was is no change.
    IF TG_OP = 'UPDATE' AND NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NULL;
    END IF;
    SELECT r.* INTO changed FROM rule_of(TG_TABLE_NAME, to_jsonb(coalesce(NEW, OLD))) AS r;
    INSERT INTO rule_changes (change_id, changed_at, kind, subject, terms)
    SELECT coalesce(max(c.change_id), 0) + 1,
        -- After all events, even where they were recorded by a clock that was ahead.
        greatest(
            ledger_now(),
            max(c.changed_at),
            (SELECT h.last_recorded_at FROM ledger_head AS h) + interval '1 microsecond'
        ),
        changed.kind,
        changed.subject,
        CASE WHEN TG_OP <> 'DELETE' THEN changed.terms END
    FROM (SELECT * FROM rule_changes ORDER BY change_id DESC LIMIT 1) AS c;
    RETURN NULL;
END
$$;
