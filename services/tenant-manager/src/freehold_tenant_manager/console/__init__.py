"""The operators' console: pages to see all tenants at a glance, and to act on one."""
