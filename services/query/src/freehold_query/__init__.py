"""Answers balances, statements and events from each tenant's own database."""
