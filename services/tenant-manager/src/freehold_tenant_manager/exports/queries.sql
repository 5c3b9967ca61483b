-- The catalog's queries of final exports (final_exports.py).

-- name: keep_final_export
INSERT INTO final_exports (tenant_id, object_path, size_bytes, sha256, backup_id)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT ON CONSTRAINT final_exports_pkey DO UPDATE
    SET
        object_path = excluded.object_path,
        size_bytes = excluded.size_bytes,
        sha256 = excluded.sha256,
        backup_id = excluded.backup_id,
        exported_at = now();

-- name: find_final_export
SELECT
    object_path,
    size_bytes,
    sha256,
    backup_id
FROM final_exports
WHERE tenant_id = $1;
