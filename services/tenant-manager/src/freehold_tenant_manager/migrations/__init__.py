"""Migrations of tenants' ledgers."""
