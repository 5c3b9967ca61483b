"""Statements of accounts: what moved a balance in a period, in JSON, CSV or PDF."""
