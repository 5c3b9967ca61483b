-- Who operates this installation, and what they did: the audit log.

CREATE TABLE operators (
    name text COLLATE "C" NOT NULL CONSTRAINT operators_pkey PRIMARY KEY
    CONSTRAINT operators_name CHECK (name ~ '^[a-z][a-z0-9._-]{1,62}$'),
    role text NOT NULL -- noqa: RF04
    CONSTRAINT operators_role CHECK (role IN ('viewer', 'operator', 'owner')),
    token_id text COLLATE "C" NOT NULL CONSTRAINT operators_token_id_key UNIQUE,
    token_hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);
COMMENT ON TABLE operators IS
'People and programs that operate this installation. A row stays when it is revoked: the audit log '
'names it.';
COMMENT ON COLUMN operators.token_hash IS 'SHA-256 of a 256-bit random secret.';
COMMENT ON COLUMN operators.last_used_at IS 'To within an hour.';

CREATE TABLE operator_acts (
    seq bigint NOT NULL CONSTRAINT operator_acts_pkey PRIMARY KEY,
    recorded_at timestamptz NOT NULL,
    act_id uuid NOT NULL,
    phase text NOT NULL
    CONSTRAINT operator_acts_phase CHECK (phase IN ('begun', 'ended', 'finished')),
    operator text COLLATE "C" NOT NULL, -- noqa: RF04
    role text NOT NULL, -- noqa: RF04
    credential text NOT NULL
    CONSTRAINT operator_acts_credential
    CHECK (credential IN ('token', 'session', 'oidc', 'link')),
    act text COLLATE "C" NOT NULL,
    tenant_id text COLLATE "C",
    target text, -- noqa: RF04
    details jsonb NOT NULL,
    address text,
    request_id text,
    outcome jsonb,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL
);
COMMENT ON TABLE operator_acts IS
'The audit log. Entries are appended by append_operator_act alone, and never changed.';
COMMENT ON COLUMN operator_acts.act_id IS 'The entries of one act have the same.';
COMMENT ON COLUMN operator_acts.phase IS
'begun before the act runs, ended with its answer, finished with the operation that it asked for.';
COMMENT ON COLUMN operator_acts.tenant_id IS 'Refers to nothing: the log outlives tenants.';
COMMENT ON COLUMN operator_acts.hash IS
'SHA-256 of previous_hash and operator_act_text: each entry proves all before it.';
CREATE INDEX operator_acts_recorded_idx ON operator_acts (recorded_at);
CREATE INDEX operator_acts_operator_idx ON operator_acts (operator, seq);
CREATE INDEX operator_acts_tenant_idx ON operator_acts (tenant_id, seq);
CREATE INDEX operator_acts_act_idx ON operator_acts (act, seq);

CREATE TABLE operator_acts_head (
    is_only boolean NOT NULL DEFAULT true CONSTRAINT operator_acts_head_pkey PRIMARY KEY
    CONSTRAINT operator_acts_head_is_only CHECK (is_only),
    last_seq bigint NOT NULL,
    last_hash bytea NOT NULL
);
COMMENT ON TABLE operator_acts_head IS
'Where the audit log ends. Who appends locks this row until the commit, so seq has no gaps.';

INSERT INTO operator_acts_head (last_seq, last_hash) VALUES (0, decode(repeat('00', 32), 'hex'));
