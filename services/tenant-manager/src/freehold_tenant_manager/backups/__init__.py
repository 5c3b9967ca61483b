"""Backups, on request and by schedule."""
