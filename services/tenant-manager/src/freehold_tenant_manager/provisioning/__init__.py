"""Makes tenants: their databases and roles, the template of these, and the pool."""
