"""Suspending, resuming and deleting tenants."""
