"""Tenants as the services see them: the catalog's rows, cached, and where each one lives."""
