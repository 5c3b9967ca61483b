-- The ledger's clock, and how it is compared with its callers' clocks.

CREATE OR REPLACE FUNCTION ledger_now() RETURNS timestamptz
LANGUAGE sql VOLATILE
AS $$
    SELECT clock_timestamp()
$$;
COMMENT ON FUNCTION ledger_now IS
'The ledger''s time: the one place that reads the server''s clock.';

CREATE OR REPLACE FUNCTION agreed_now(
    asked_at timestamptz, difference_max_s double precision
) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    instant CONSTANT timestamptz := ledger_now();
    ahead_s CONSTANT double precision := extract(EPOCH FROM instant - asked_at);
BEGIN
    IF abs(ahead_s) > difference_max_s THEN
        RAISE EXCEPTION 'the database''s clock is % s % the service''s',
            round(abs(ahead_s)::numeric, 1), CASE WHEN ahead_s > 0 THEN 'ahead of' ELSE 'behind' END
        USING ERRCODE = 'TC001';
    END IF;
    RETURN instant;
END
$$;
COMMENT ON FUNCTION agreed_now IS
'The ledger''s time, where it agrees with the caller''s asked_at. Where it differs by more than '
'difference_max_s, the error TC001 undoes the whole statement. Nulls agree with any time.';
