"""Dumps of a ledger as a whole: exports and backups."""
