-- When projector must look for holds that have expired. Appends settle those that are due before
-- anything else; this is for tenants who append nothing.

CREATE TABLE hold_expiries (
    tenant_id text COLLATE "C" NOT NULL
    CONSTRAINT hold_expiries_tenant_fkey REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    claim uuid,
    CONSTRAINT hold_expiries_pkey PRIMARY KEY (tenant_id, expires_at)
);
COMMENT ON TABLE hold_expiries IS
'Seconds within which a hold of a tenant expires. A row stays until then, whatever becomes of the '
'hold: a process that has written it need not ask whether it is still there.';
COMMENT ON COLUMN hold_expiries.claim IS
'Of the process that looks now; null where nobody does, or the second was noted again since.';
CREATE INDEX hold_expiries_due_idx ON hold_expiries (due_at);
