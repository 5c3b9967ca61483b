-- Gives the databases that hardening.sql is to be run in: the one that tenant-manager's template is
-- a copy of, those of tenants, and the catalog's. The last says by being hardened that all are.

SELECT d.datname
FROM pg_database AS d
INNER JOIN pg_roles AS r ON d.datdba = r.oid
WHERE
    d.datallowconn
    AND (
        d.datname ~ '^fh_[0-9a-f]+$'
        OR d.datname = 'freehold_base'
        OR r.rolname = coalesce(
            nullif(current_setting('freehold.tenant_manager', true), ''),
            'freehold_tenant_manager'
        )
    )
ORDER BY d.datname <> 'freehold_base', d.datname !~ '^fh_[0-9a-f]+$', d.datname;
