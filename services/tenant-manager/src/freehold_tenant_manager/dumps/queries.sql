-- name: list_scratch
-- $1 the prefix of scratch databases' names. Gives those of operations that are over.
SELECT d.datname
FROM pg_database AS d
WHERE
    starts_with(d.datname, $1)
    AND pg_has_role(current_user, d.datdba, 'MEMBER')
    AND EXISTS (
        SELECT FROM operations AS o
        WHERE o.state ->> 'scratch' = d.datname AND o.status IN ('succeeded', 'failed')
    );
