"""Provisions tenants, their databases and their API keys."""
