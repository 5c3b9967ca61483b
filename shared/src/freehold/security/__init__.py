"""Secrets: API keys and the sealing of database passwords."""
