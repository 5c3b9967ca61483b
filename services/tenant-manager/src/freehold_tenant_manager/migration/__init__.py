"""Migrations: of one database, and of all tenants' ledgers."""
