-- The triggers of the catalog's tables. They need the functions, and are loaded after them.

CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE ON tenants
FOR EACH ROW EXECUTE FUNCTION announce_change();
CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE ON credentials
FOR EACH ROW EXECUTE FUNCTION announce_change();
CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE ON api_keys
FOR EACH ROW EXECUTE FUNCTION announce_change();

CREATE TRIGGER record_unshipped AFTER INSERT OR UPDATE OR DELETE ON clusters
FOR EACH STATEMENT EXECUTE FUNCTION record_unshipped();
CREATE TRIGGER record_unshipped AFTER INSERT OR UPDATE OR DELETE ON tenants
FOR EACH STATEMENT EXECUTE FUNCTION record_unshipped();
CREATE TRIGGER record_unshipped AFTER INSERT OR UPDATE OR DELETE ON credentials
FOR EACH ROW EXECUTE FUNCTION record_unshipped_credential();
CREATE TRIGGER record_unshipped AFTER INSERT OR UPDATE OR DELETE ON api_keys
FOR EACH STATEMENT EXECUTE FUNCTION record_unshipped();
CREATE TRIGGER record_unshipped AFTER
INSERT OR DELETE OR UPDATE OF role, token_id, token_hash, expires_at, revoked_at ON operators
FOR EACH STATEMENT EXECUTE FUNCTION record_unshipped();
CREATE TRIGGER record_unshipped AFTER INSERT ON operator_acts
FOR EACH STATEMENT EXECUTE FUNCTION record_unshipped();
CREATE TRIGGER record_unshipped AFTER INSERT OR UPDATE OR DELETE ON data_keys
FOR EACH STATEMENT EXECUTE FUNCTION record_unshipped();
CREATE TRIGGER record_unshipped AFTER INSERT OR UPDATE OR DELETE ON backups
FOR EACH STATEMENT EXECUTE FUNCTION record_unshipped();
CREATE TRIGGER record_unshipped AFTER INSERT OR UPDATE OR DELETE ON final_exports
FOR EACH STATEMENT EXECUTE FUNCTION record_unshipped();
-- The storage itself says how far an epoch is archived. For each row: an archiver inserts rows that
-- may exist already.
CREATE TRIGGER record_unshipped AFTER INSERT OR DELETE ON tenant_epochs
FOR EACH ROW EXECUTE FUNCTION record_unshipped();
-- Not an operation's progress: a recovered catalog begins running operations anew.
CREATE TRIGGER record_unshipped AFTER INSERT OR UPDATE OF result ON operations -- noqa: RF04
FOR EACH STATEMENT EXECUTE FUNCTION record_unshipped();

-- Also to the owner, and where triggers are off.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON operator_acts
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE operator_acts ENABLE ALWAYS TRIGGER append_only;
