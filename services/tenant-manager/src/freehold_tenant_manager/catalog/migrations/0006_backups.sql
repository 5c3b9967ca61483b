-- Backups, and the keys they are encrypted with.

SELECT 1;
