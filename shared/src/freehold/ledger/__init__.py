"""The ledger: SQL that lives in each tenant's database, and typed calls of its functions."""
