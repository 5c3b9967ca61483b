-- The continuous archive, and restores.

SELECT 1;
