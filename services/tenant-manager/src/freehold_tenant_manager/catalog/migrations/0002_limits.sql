-- What ingest takes of a tenant, where it is not what ingest's own settings say.

ALTER TABLE tenants
ADD COLUMN ingest_events_per_s integer
CONSTRAINT tenants_ingest_events_per_s CHECK (ingest_events_per_s > 0),
ADD COLUMN ingest_requests_max integer
CONSTRAINT tenants_ingest_requests_max CHECK (ingest_requests_max > 0);
COMMENT ON COLUMN tenants.ingest_events_per_s IS
'Events that one process of ingest takes in a second; null for what its settings say.';
COMMENT ON COLUMN tenants.ingest_requests_max IS
'Requests that one process of ingest works on at once; null for what its settings say.';

CREATE OR REPLACE VIEW service_homes WITH (security_barrier) AS
SELECT
    t.tenant_id,
    t.epoch,
    c.host,
    c.port,
    t.database_name,
    t.schema_name,
    t.schema_version,
    r.role_name,
    r.sealing_key_id,
    r.sealed_password,
    t.ingest_events_per_s,
    t.ingest_requests_max
FROM tenants AS t
INNER JOIN clusters AS c ON t.cluster = c.cluster
INNER JOIN tenant_credentials AS r ON t.tenant_id = r.tenant_id
WHERE current_user = 'freehold_' || r.service AND t.status = 'active';
