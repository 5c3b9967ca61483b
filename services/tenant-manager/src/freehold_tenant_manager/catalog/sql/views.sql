-- What the services see: where each tenant lives, with their own credential for it and no other's.
-- Behind the barrier, no function in a query's own conditions runs on the rows of others.
--
-- A migration that replaces a view is a file of its own: a reader locks the view before its tables,
-- so a transaction that alters a table and then replaces the view would deadlock with readers. A
-- column is added at the end: a view grows no other way.

CREATE VIEW homes AS
SELECT
    t.tenant_id,
    t.epoch,
    c.host,
    c.port,
    t.database_name,
    t.schema_name,
    t.schema_version,
    r.service,
    r.sealing_key_id,
    r.sealed_password,
    t.ingest_events_per_s,
    t.ingest_requests_max,
    t.status,
    t.services_version_min,
    t.name,
    t.recovering,
    r.database_name || '_' || r.service AS role_name
FROM tenants AS t
INNER JOIN clusters AS c ON t.cluster = c.cluster
INNER JOIN credentials AS r ON t.database_name = r.database_name
WHERE t.status IN ('active', 'suspended', 'deleting');

CREATE VIEW service_homes WITH (security_barrier) AS
SELECT * -- noqa: AM04
FROM homes
WHERE current_user = 'freehold_' || service;

CREATE VIEW service_api_keys WITH (security_barrier) AS
SELECT
    k.key_id,
    k.tenant_id,
    k.secret_hash,
    k.scopes,
    k.expires_at
FROM api_keys AS k
WHERE k.revoked_at IS NULL; -- noqa: CP04

-- For tenant-manager itself. It reads the first two whole. A release that needs more of their
-- columns makes another view: processes of the release before know only these.

CREATE VIEW tenant_rows AS
SELECT
    t.tenant_id,
    t.name,
    t.region,
    t.isolation,
    t.status,
    t.created_at,
    t.epoch,
    t.cluster,
    t.database_name,
    t.schema_name,
    t.schema_version,
    t.ingest_events_per_s,
    t.ingest_requests_max,
    t.deleted_at,
    t.recovering
FROM tenants AS t;

CREATE VIEW operation_rows AS
SELECT
    o.operation_id,
    o.kind,
    o.tenant_id,
    o.parameters, -- noqa: RF04
    o.status,
    o.progress,
    o.message,
    o.state,
    o.result, -- noqa: RF04
    o.created_at,
    o.finished_at
FROM operations AS o;

CREATE VIEW ledger_migrations AS
SELECT
    t.tenant_id,
    t.schema_version,
    m.operation_id,
    m.phase,
    m.error,
    m.started_at,
    m.finished_at,
    coalesce(m.attempts, 0) AS attempts,
    -- Of an operation that has ended, only failures count: a tenant may not have had its turn.
    CASE
        WHEN m.status = 'failed' OR o.operation_id IS NOT NULL AND m.status <> 'succeeded'
            THEN m.status
    END AS status
FROM tenants AS t
LEFT JOIN tenant_migrations AS m ON t.tenant_id = m.tenant_id
LEFT JOIN operations AS o
    ON m.operation_id = o.operation_id AND o.status IN ('queued', 'running')
WHERE t.status IN ('active', 'suspended');

-- The roles that customers log in with.
CREATE VIEW customer_roles AS
SELECT c.database_name || '_' || c.service AS role_name
FROM credentials AS c
WHERE c.service = 'auditor';
