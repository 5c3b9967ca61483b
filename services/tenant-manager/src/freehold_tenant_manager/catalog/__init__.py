"""The catalog database: set up here, and read and written through one module a noun."""
