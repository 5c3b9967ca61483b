-- The audit log's functions: append an entry, and verify the chain of all.

CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: the audit log is append-only', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation';
END
$$;

-- The members of a jsonb are written in one order, and the catalog's encoding is UTF-8, so the
-- bytes are the same everywhere.
CREATE OR REPLACE FUNCTION operator_act_text(entry operator_acts) RETURNS text
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $$
    SELECT jsonb_build_object(
        'seq', entry.seq,
        'recorded_at', to_char(
            entry.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
        ),
        'act_id', entry.act_id,
        'phase', entry.phase,
        'operator', entry.operator,
        'role', entry.role,
        'credential', entry.credential,
        'act', entry.act,
        'tenant_id', entry.tenant_id,
        'target', entry.target,
        'details', entry.details,
        'address', entry.address,
        'request_id', entry.request_id,
        'outcome', entry.outcome
    )::text
$$;
COMMENT ON FUNCTION operator_act_text IS
'What an entry''s hash covers, besides the hash before it.';

CREATE OR REPLACE FUNCTION append_operator_act(stated jsonb) RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    head operator_acts_head%ROWTYPE;
    entry operator_acts%ROWTYPE := jsonb_populate_record(NULL::operator_acts, stated);
BEGIN
    SELECT h.* INTO head FROM operator_acts_head AS h FOR UPDATE;
    entry.seq := head.last_seq + 1;
    -- Read under the lock, so that entries are in the order of their times.
    entry.recorded_at := clock_timestamp();
    entry.previous_hash := head.last_hash;
    entry.hash := sha256(head.last_hash || convert_to(operator_act_text(entry), 'UTF8'));
    INSERT INTO operator_acts SELECT entry.*;
    UPDATE operator_acts_head SET last_seq = entry.seq, last_hash = entry.hash;
    RETURN entry.seq;
END
$$;
COMMENT ON FUNCTION append_operator_act IS
'Appends an entry to the audit log and returns its seq. The members of what is stated are the '
'columns that this does not fill in itself.';

CREATE OR REPLACE FUNCTION append_operation_end(
    asked_by jsonb, operation_id uuid, kind text, status text, message text
) RETURNS bigint
LANGUAGE sql
SET search_path FROM CURRENT
AS $$
    SELECT append_operator_act(
        asked_by || jsonb_build_object(
            'phase', 'finished',
            'outcome', jsonb_build_object(
                'operation_id', operation_id, 'kind', kind, 'status', status, 'message', message
            )
        )
    )
$$;
COMMENT ON FUNCTION append_operation_end IS
'Appends how an operation ended, in the name of who asked for it.';

CREATE OR REPLACE FUNCTION verify_operator_acts(
    OUT entries_checked bigint,
    OUT first_bad_seq bigint,
    OUT reason text,
    OUT head_seq bigint,
    OUT head_hash bytea
)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    nothing CONSTANT bytea := decode(repeat('00', 32), 'hex');
    last_seq bigint;
    last_hash bytea;
BEGIN
    SELECT h.last_seq, h.last_hash
    INTO verify_operator_acts.head_seq, verify_operator_acts.head_hash
    FROM operator_acts_head AS h;

    -- Each hash is recomputed from the stored hash before it, which proves the whole chain.
    SELECT
        count(*),
        min(c.seq) FILTER (WHERE c.fault IS NOT NULL),
        (array_agg(c.fault ORDER BY c.seq) FILTER (WHERE c.fault IS NOT NULL))[1],
        coalesce(max(c.seq), 0)
    INTO
        verify_operator_acts.entries_checked,
        verify_operator_acts.first_bad_seq,
        verify_operator_acts.reason,
        last_seq
    FROM (
        SELECT
            a.seq,
            CASE
                WHEN a.seq <> coalesce(lag(a.seq) OVER in_order, 0) + 1
                    THEN 'an entry is missing before this one'
                WHEN a.previous_hash <> coalesce(lag(a.hash) OVER in_order, nothing)
                    OR a.hash <> sha256(
                        a.previous_hash || convert_to(operator_act_text(a), 'UTF8')
                    )
                    THEN 'the hash does not match the entry and the hash before it'
            END AS fault
        FROM operator_acts AS a
        WINDOW in_order AS (ORDER BY a.seq)
    ) AS c;
    IF verify_operator_acts.reason IS NULL THEN
        SELECT a.hash INTO last_hash FROM operator_acts AS a WHERE a.seq = last_seq;
        IF last_seq <> verify_operator_acts.head_seq
            OR coalesce(last_hash, nothing) <> verify_operator_acts.head_hash
        THEN
            verify_operator_acts.first_bad_seq := last_seq + 1;
            verify_operator_acts.reason := 'the log does not end where its head says';
        END IF;
    END IF;
END
$$;
COMMENT ON FUNCTION verify_operator_acts IS
'Recomputes the audit log''s hash chain, and names the first fault.';
