-- Gives the statements that come before hardening.sql, to be run one by one, each by itself.
--
-- Tenants' databases are copies of tenant-manager's template, which is a copy of freehold_base, and
-- rights to what Postgres brings along are copied with it. Templates of before are dropped:
-- tenant-manager makes them anew.

SELECT format(s.pattern, d.datname)
FROM (
    SELECT 'freehold_base' AS datname
    EXCEPT
    SELECT datname FROM pg_database
    UNION ALL
    SELECT datname FROM pg_database
    WHERE datname ~ '^freehold_template_[0-9a-f]+(_in_the_making)?$'
) AS d
INNER JOIN (
    VALUES
    (
        1,
        'CREATE DATABASE %I TEMPLATE template0 ENCODING ''UTF8'' LOCALE_PROVIDER libc LOCALE ''C'''
    ),
    (2, 'ALTER DATABASE %I IS_TEMPLATE false'),
    (3, 'DROP DATABASE %I')
) AS s (place, pattern) ON (d.datname = 'freehold_base') = (s.place = 1)
ORDER BY d.datname, s.place;
