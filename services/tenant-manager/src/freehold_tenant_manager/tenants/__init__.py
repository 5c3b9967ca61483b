"""Tenants: listed, shown, limited."""
