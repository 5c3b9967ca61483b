-- Suspension, deletion.

SELECT 1;
