"""Live balances: what changes in a tenant's books, as Server-Sent Events."""
