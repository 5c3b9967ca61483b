-- What projector does for a tenant when no doorbell rings: the reconciliation, whose anchor is a
-- head of the ledger kept outside of it, and settling holds that expire while the tenant appends
-- nothing.

CREATE TABLE reconciliations (
    tenant_id text COLLATE "C" NOT NULL CONSTRAINT reconciliations_pkey PRIMARY KEY
    CONSTRAINT reconciliations_tenant_fkey REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    due_at timestamptz NOT NULL DEFAULT now(),
    leased_by uuid,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    reconciled_at timestamptz,
    findings jsonb NOT NULL DEFAULT '[]',
    anchor_seq bigint NOT NULL DEFAULT 0,
    anchor_hash bytea,
    epoch bigint NOT NULL DEFAULT 1
);
COMMENT ON TABLE reconciliations IS 'When each tenant is reconciled next, and what was found last.';
COMMENT ON COLUMN reconciliations.anchor_hash IS
'The hash the ledger had at anchor_seq. A ledger rewritten or cut since no longer has it.';
CREATE INDEX reconciliations_due_idx ON reconciliations (due_at);

CREATE TABLE hold_expiries (
    tenant_id text COLLATE "C" NOT NULL
    CONSTRAINT hold_expiries_tenant_fkey REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    leased_by uuid,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    CONSTRAINT hold_expiries_pkey PRIMARY KEY (tenant_id, expires_at)
);
COMMENT ON TABLE hold_expiries IS
'Seconds in which a hold of a tenant expires. A row stays until then, even if the hold is settled '
'before: a process that has written it need not look for it again.';
COMMENT ON COLUMN hold_expiries.leased_by IS
'The process that settles it now; null if there is none, or the second was saved again since.';
CREATE INDEX hold_expiries_due_idx ON hold_expiries (due_at);
