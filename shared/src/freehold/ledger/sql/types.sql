-- Row types that append's functions hand to each other.

CREATE TYPE addition AS (
    -- Counts the requests of a call from 1. The additions of a request stand together.
    request integer,
    -- Counts the additions of a request from 1.
    index integer,
    -- A request's first addition alone has its idempotency key, if it has one, and with the key the
    -- fingerprint of what it asks for, and how many additions it has.
    key text COLLATE "C",
    fingerprint text,
    additions integer,
    -- Counts the legs of a transaction from 1; null for what is no leg.
    leg integer,
    -- Null for a reversal or a settlement, until `completed` takes it from the original.
    account_id text COLLATE "C",
    -- Null: the ledger's clock says.
    transaction_time timestamptz,
    event_type text COLLATE "C",
    -- Null for a capture of the whole hold.
    amount_minor bigint,
    currency char (3) COLLATE "C",
    external_id text COLLATE "C",
    metadata jsonb,
    -- The event to reverse. With `leg` 1 it names a transaction, until `completed` makes of it the
    -- reversals of all its legs.
    reverses_event_id uuid,
    -- The event to refund.
    refunds_event_id uuid,
    -- The hold to settle.
    hold_id uuid,
    -- The amount to hold.
    held_minor bigint,
    hold_expires_at timestamptz
);
COMMENT ON TYPE addition IS 'What a request adds to the ledger: one event.';

CREATE TYPE traits AS (
    -- The call has more than one request.
    many boolean,
    -- idempotency_keys has a row, expired or not, for one of the keys.
    known_keys boolean,
    -- There is an external id.
    external_ids boolean,
    -- There is a reversal, a settlement, or an external id that the ledger has. `judge` also looks
    -- for external ids that the call has twice.
    claims boolean,
    -- There is a reversal or a settlement.
    originals boolean,
    -- There is a refund.
    refunds boolean,
    -- There is an event type of the ledger's own.
    own_types boolean,
    -- There are legs of transactions.
    legs boolean
);
COMMENT ON TYPE traits IS 'What is found among the additions of a call: append skips the rest.';

CREATE TYPE answer AS (
    request integer,
    index integer,
    outcome text,
    conflicting_id uuid,
    -- The addition of an earlier request of the call whose event is the conflicting one.
    conflicting_request integer,
    conflicting_index integer,
    -- The first and the last event that the caller is to be shown, if any.
    first_event_id uuid,
    last_event_id uuid,
    -- How much is left of what the request takes too much of.
    room numeric
);
COMMENT ON TYPE answer IS
'Why a request adds nothing, or what it added that its caller does not know. The outcome is null '
'while an earlier request of the call has its key.';

CREATE TYPE judgement AS (
    accepted addition [],
    answers answer []
);
COMMENT ON TYPE judgement IS 'What is to be written, and the answers to refused requests.';

CREATE TYPE shortage AS (
    account_id text COLLATE "C",
    currency char (3) COLLATE "C",
    -- An event instead of an account.
    event_id uuid,
    room numeric
);
COMMENT ON TYPE shortage IS
'How far an account is above its limit, or what is left of an event to refund or reverse: a call '
'takes more.';

CREATE TYPE growth AS (
    last_seq bigint,
    last_event_id uuid,
    last_hash bytea,
    event_ids bytea,
    event_hashes bytea
);
COMMENT ON TYPE growth IS 'Where the ledger ends since a write, and the ids and hashes it added.';
