-- Which ingest instances live, and for which tenants each may have committed events that it has not
-- announced yet. A lease is written before the first append and released when idle. After a crash
-- only the dead instance's tenants need a look, never every tenant.

CREATE TABLE ingest_instances (
    instance_id uuid NOT NULL CONSTRAINT ingest_instances_pkey PRIMARY KEY,
    leased_until timestamptz NOT NULL
);

CREATE TABLE announcement_leases (
    instance_id uuid NOT NULL
    CONSTRAINT announcement_leases_instance_fkey
    REFERENCES ingest_instances (instance_id) ON DELETE CASCADE,
    tenant_id text COLLATE "C" NOT NULL
    CONSTRAINT announcement_leases_tenant_fkey REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    CONSTRAINT announcement_leases_pkey PRIMARY KEY (instance_id, tenant_id)
);
