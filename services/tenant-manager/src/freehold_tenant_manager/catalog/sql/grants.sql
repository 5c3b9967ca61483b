-- Who may do what in the catalog. Run by its owner at every start; safe to repeat.

GRANT USAGE ON SCHEMA catalog TO freehold_ingest, freehold_projector, freehold_query;
GRANT SELECT ON service_homes TO freehold_ingest, freehold_projector, freehold_query;
GRANT SELECT ON service_api_keys TO freehold_ingest, freehold_query;
GRANT SELECT, INSERT, UPDATE, DELETE ON ingest_instances TO freehold_ingest;
GRANT SELECT, INSERT, DELETE ON announcement_leases TO freehold_ingest;
GRANT SELECT, UPDATE ON reconciliations TO freehold_projector;
GRANT SELECT, INSERT, UPDATE, DELETE ON hold_expiries TO freehold_projector;
GRANT SELECT, INSERT, UPDATE ON tenant_traffic TO
freehold_ingest, freehold_projector, freehold_query;
GRANT SELECT, INSERT, UPDATE ON slow_reads TO freehold_query;
GRANT SELECT, DELETE ON sign_in_links TO freehold_query;
