"""``freehold import``: a file of events into a tenant's ledger."""
