-- Which ledgers were migrated, and which were not.

SELECT 1;
