"""Connections to tenants' databases, and what their servers answer when they fail."""
