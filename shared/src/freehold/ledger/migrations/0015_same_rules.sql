-- A rule that is set again as it stands is no change, and would be written down for ever.

CREATE OR REPLACE FUNCTION note_rule_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    changed record;
BEGIN
    IF TG_OP = 'UPDATE' AND NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NULL;
    END IF;
    SELECT r.* INTO changed FROM rule_of(TG_TABLE_NAME, to_jsonb(coalesce(NEW, OLD))) AS r;
    INSERT INTO rule_changes (change_id, changed_at, kind, subject, terms)
    SELECT coalesce(max(c.change_id), 0) + 1,
        greatest(clock_timestamp(), max(c.changed_at)),
        changed.kind,
        changed.subject,
        CASE WHEN TG_OP <> 'DELETE' THEN changed.terms END
    FROM (SELECT * FROM rule_changes ORDER BY change_id DESC LIMIT 1) AS c;
    RETURN NULL;
END
$$;
