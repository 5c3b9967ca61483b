"""The Postgres server of the tenants: its sessions, locks, statements and migrations."""
