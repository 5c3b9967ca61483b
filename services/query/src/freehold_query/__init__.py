"""Answers balances and events from each tenant's own database."""
