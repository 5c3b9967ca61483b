"""Accepts payment events over HTTP and appends them to each tenant's ledger."""
