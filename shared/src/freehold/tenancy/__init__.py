"""Tenants as the services see them: who asks, where their ledger lives, connections to it."""
