-- The columns of what the functions in reading.sql answer. A view is made once, as a table is: a
-- migration replaces it, in a file of its own. A reader locks the view before its table, so a
-- transaction that alters the table and then replaces the view would deadlock with readers. A
-- column is added at the end: a view grows no other way.

CREATE VIEW balance_lines AS
SELECT
    b.account_id,
    b.currency::text AS currency,
    b.current_balance_minor::numeric AS current_balance_minor,
    b.event_count,
    b.last_ledger_event_id,
    b.last_seq,
    b.last_updated_time,
    b.held_minor::numeric AS held_minor
FROM account_balances AS b;

CREATE VIEW event_lines AS
SELECT
    e.event_id,
    e.seq,
    e.account_id,
    e.transaction_time,
    e.recorded_at,
    e.event_type,
    e.amount_minor,
    e.currency::text AS currency,
    e.transaction_id,
    e.reverses_event_id,
    e.refunds_event_id,
    e.external_id,
    e.metadata::text AS metadata_json,
    e.hash,
    e.hold_id,
    e.held_minor,
    e.hold_expires_at
FROM ledger_events AS e;
