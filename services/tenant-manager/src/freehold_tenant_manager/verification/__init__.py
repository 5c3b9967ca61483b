"""Verifications of a tenant's ledger on request."""
