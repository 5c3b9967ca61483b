"""A schema as the server's catalogs describe it, to be compared with another."""

import json

from freehold.ledger.client import Connection

# Without what differs by chance: oids, positions of columns, and schema_migrations' rows.
_QUERIES = """
SELECT 'relation', c.relname::text, c.relkind::text, c.relpersistence::text, c.reloptions::text,
    c.relispartition, pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid),
    c.relreplident::text, c.relrowsecurity, c.relacl::text, c.relowner::regrole::text,
    obj_description(c.oid, 'pg_class')
FROM pg_class AS c WHERE c.relnamespace = $1::text::regnamespace;

SELECT 'column', c.relname::text, a.attname::text,
    row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum),
    format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text, a.attgenerated::text,
    a.attcollation::regcollation::text, a.attstorage::text, a.attislocal, a.attinhcount,
    pg_get_expr(d.adbin, d.adrelid), a.attacl::text, col_description(c.oid, a.attnum)
FROM pg_attribute AS a
INNER JOIN pg_class AS c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = $1::text::regnamespace AND a.attnum > 0 AND NOT a.attisdropped;

SELECT 'constraint', k.conrelid::regclass::text, k.conname::text, k.contype::text, k.convalidated,
    k.conislocal, k.coninhcount, k.connoinherit, pg_get_constraintdef(k.oid)
FROM pg_constraint AS k WHERE k.connamespace = $1::text::regnamespace;

SELECT 'index', pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisprimary, i.indisreplident
FROM pg_index AS i INNER JOIN pg_class AS c ON c.oid = i.indrelid
WHERE c.relnamespace = $1::text::regnamespace;

SELECT 'trigger', pg_get_triggerdef(t.oid), t.tgenabled::text, obj_description(t.oid, 'pg_trigger')
FROM pg_trigger AS t INNER JOIN pg_class AS c ON c.oid = t.tgrelid
WHERE c.relnamespace = $1::text::regnamespace AND NOT t.tgisinternal;

SELECT 'function', p.oid::regprocedure::text, p.prokind::text, p.prosecdef, p.proisstrict,
    p.proretset, p.provolatile::text, p.proparallel::text, p.procost, p.prorows, l.lanname::text,
    pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.proconfig::text, p.prosrc,
    pg_get_function_sqlbody(p.oid), p.proacl::text, p.proowner::regrole::text,
    obj_description(p.oid, 'pg_proc')
FROM pg_proc AS p INNER JOIN pg_language AS l ON l.oid = p.prolang
WHERE p.pronamespace = $1::text::regnamespace;

SELECT 'aggregate', a.aggfnoid::regprocedure::text, a.aggkind::text, a.aggtransfn::text,
    a.aggfinalfn::text, a.aggtranstype::regtype::text, a.agginitval
FROM pg_aggregate AS a INNER JOIN pg_proc AS p ON p.oid = a.aggfnoid
WHERE p.pronamespace = $1::text::regnamespace;

SELECT 'view', c.relname::text, pg_get_viewdef(c.oid)
FROM pg_class AS c WHERE c.relkind = 'v' AND c.relnamespace = $1::text::regnamespace;

SELECT 'sequence', s.seqrelid::regclass::text, s.seqtypid::regtype::text, s.seqstart,
    s.seqincrement, s.seqmax, s.seqmin, s.seqcache, s.seqcycle
FROM pg_sequence AS s INNER JOIN pg_class AS c ON c.oid = s.seqrelid
WHERE c.relnamespace = $1::text::regnamespace;

SELECT 'type', t.typname::text, t.typtype::text, format_type(t.typbasetype, t.typtypmod)
FROM pg_type AS t WHERE t.typnamespace = $1::text::regnamespace;

SELECT 'default rights', d.defaclrole::regrole::text, d.defaclobjtype::text, d.defaclacl::text
FROM pg_default_acl AS d WHERE d.defaclnamespace = $1::text::regnamespace
"""


async def described(connection: Connection, schema: str) -> list[str]:
    """Give every catalog row of a schema's objects, in a fixed order."""
    rows = [row for query in _QUERIES.split(";") for row in await connection.fetch(query, schema)]
    return sorted(json.dumps(list(row.values()), default=str) for row in rows)
