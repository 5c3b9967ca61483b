"""Exports of a tenant's whole ledger as one file."""
