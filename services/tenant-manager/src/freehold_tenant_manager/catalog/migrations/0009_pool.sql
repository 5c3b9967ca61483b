-- Databases made ahead of their tenants.

SELECT 1;
