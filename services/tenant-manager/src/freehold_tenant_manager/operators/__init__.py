"""Operators as people: their tokens and roles, and the audit log of what they do."""
