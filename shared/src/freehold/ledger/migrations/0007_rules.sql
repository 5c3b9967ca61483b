-- Rules that a tenant may set for their own ledger. append keeps them; what is there already stays.

CREATE TABLE event_types (
    event_type text COLLATE "C" NOT NULL CONSTRAINT event_types_pkey PRIMARY KEY,
    sign text NOT NULL
    CONSTRAINT event_types_sign CHECK (sign IN ('positive', 'negative', 'any')),
    description text NOT NULL,
    declared_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE event_types IS 'The event types that the tenant has declared.';
COMMENT ON COLUMN event_types.sign IS 'Which amounts events of this type may have.';

CREATE TABLE account_limits (
    account_id text COLLATE "C" NOT NULL,
    currency char(3) COLLATE "C" NOT NULL,
    min_balance_minor bigint NOT NULL,
    CONSTRAINT account_limits_pkey PRIMARY KEY (account_id, currency)
);
COMMENT ON TABLE account_limits IS
'How low the available balance of an account may be taken; no row, no limit.';

ALTER TABLE ledger_settings
ADD COLUMN event_types_closed boolean NOT NULL DEFAULT false,
ADD COLUMN with_event_types boolean NOT NULL DEFAULT false,
ADD COLUMN with_account_limits boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN ledger_settings.event_types_closed IS 'Whether undeclared types are refused.';
COMMENT ON COLUMN ledger_settings.with_event_types IS
'Not a choice: whether event types are to be looked at, for append to know at no cost.';
COMMENT ON COLUMN ledger_settings.with_account_limits IS
'Not a choice: whether account limits are to be looked at, for append to know at no cost.';

-- Rules change under the writer lock: each append is decided wholly by the old or the new ones.

CREATE FUNCTION declare_event_type(
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
'Declares an event type, or changes its declaration; no row where there are too many already.';

CREATE FUNCTION close_event_types(closed boolean) RETURNS void
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

CREATE FUNCTION declared_event_types(OUT closed boolean, OUT event_types_json text)
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

CREATE FUNCTION limit_account(
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

CREATE FUNCTION limits_of(limited_account_id text)
RETURNS TABLE (currency text, min_balance_minor bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
    SELECT l.currency::text, l.min_balance_minor FROM account_limits AS l
    WHERE l.account_id = limited_account_id
    ORDER BY l.currency
$$;
COMMENT ON FUNCTION limits_of IS 'The limits of an account, in order of currency.';
