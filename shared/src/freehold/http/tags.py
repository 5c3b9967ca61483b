"""The groups of operations in OpenAPI documents, in the order in which a reader meets them."""

from collections.abc import Mapping

TAGS: Mapping[str, str] = {
    "events": "The ledger's events: appended singly, in batches or as imports, reversed, searched.",
    "transactions": "Events that are appended together and sum to zero in each currency.",
    "holds": "Amounts that are set aside until they are captured or released, or expire.",
    "event types": "Which event types a tenant declares, and whether others are refused.",
    "account limits": "How low an account may be taken.",
    "balances": "What accounts have: now, at a point in time, and summed by branch.",
    "statements": "What moved an account's balance in a period.",
    "activity": "Sums of events by hour, day or month.",
    "stream": "Balances as they change.",
    "read tokens": "Short-lived credentials with which a browser reads some accounts.",
    "searchable metadata": "By which metadata keys events are searched.",
    "lag": "How far balances are behind the ledger.",
    "overview": "The whole installation at a glance.",
    "usage": "What each tenant uses of the installation, sampled slowly.",
    "tenants": "Tenants, from the first request that makes them to their deletion.",
    "API keys": "What a tenant's own programs authenticate with.",
    "credentials": "Passwords of a tenant's database roles, and the customer's connection string.",
    "audit": "What proves that nothing was changed: the ledger's end, its events, a verification.",
    "exports": "A tenant's whole ledger as one file, and a journal as CSV.",
    "backups": "Backups of a tenant's ledger, and restores.",
    "migrations": "Versions of tenants' ledgers.",
    "doorbells": "Messages that projector could not work off.",
    "operations": "Work that takes longer than a request.",
    "operators": "Who operates this installation, and the audit log of what they did.",
    "regions": "Where tenants can live.",
    "problems": "What the types of problems mean, and what to do.",
    "health": "For monitoring; without a credential.",
}
"""Descriptions by tag."""
