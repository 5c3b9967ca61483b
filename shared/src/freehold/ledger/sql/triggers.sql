-- The triggers of a new ledger's tables, and its first partitions. They need the functions, and are
-- loaded after them.

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_events
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE ledger_events ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON external_ids
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE external_ids ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reversals
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE reversals ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON rule_changes
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE rule_changes ENABLE ALWAYS TRIGGER append_only;

-- The functions that set rules hold the writer lock already. A change of a table by hand takes it
-- here.
CREATE TRIGGER take_writer_lock BEFORE INSERT OR UPDATE OR DELETE ON event_types
FOR EACH STATEMENT EXECUTE FUNCTION take_writer_lock();
CREATE TRIGGER record_rule_change AFTER INSERT OR UPDATE OR DELETE ON event_types
FOR EACH ROW EXECUTE FUNCTION record_rule_change();

CREATE TRIGGER take_writer_lock BEFORE INSERT OR UPDATE OR DELETE ON account_limits
FOR EACH STATEMENT EXECUTE FUNCTION take_writer_lock();
CREATE TRIGGER record_rule_change AFTER INSERT OR UPDATE OR DELETE ON account_limits
FOR EACH ROW EXECUTE FUNCTION record_rule_change();

CREATE TRIGGER take_writer_lock BEFORE INSERT OR UPDATE OR DELETE ON searchable_metadata
FOR EACH STATEMENT EXECUTE FUNCTION take_writer_lock();
CREATE TRIGGER record_rule_change AFTER INSERT OR UPDATE OR DELETE ON searchable_metadata
FOR EACH ROW EXECUTE FUNCTION record_rule_change();

-- Only the tenant's choices are rules. append and make_partitions write the other columns.
CREATE TRIGGER take_writer_lock
BEFORE UPDATE OF partition_span, idempotency_retention, event_types_closed ON ledger_settings
FOR EACH STATEMENT EXECUTE FUNCTION take_writer_lock();
CREATE TRIGGER record_rule_change
AFTER UPDATE OF partition_span, idempotency_retention, event_types_closed ON ledger_settings
FOR EACH ROW
WHEN (
    (old.partition_span, old.idempotency_retention, old.event_types_closed)
    IS DISTINCT FROM
    (new.partition_span, new.idempotency_retention, new.event_types_closed)
)
EXECUTE FUNCTION record_rule_change();

SELECT make_partitions();
