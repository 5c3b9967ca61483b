"""``freehold export``: a tenant's whole database as one file."""
