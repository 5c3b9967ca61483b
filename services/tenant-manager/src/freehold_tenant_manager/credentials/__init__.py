"""Passwords of the tenants' roles."""
