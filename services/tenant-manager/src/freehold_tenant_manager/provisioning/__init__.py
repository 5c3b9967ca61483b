"""Tenants made: their databases and roles, the template these are copies of, and the pool."""
