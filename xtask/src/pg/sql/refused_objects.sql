-- Objects that logical replication does not carry: name of the rule, what is wrong, what mends it.
WITH ours AS (
    SELECT c.oid, c.relkind, c.relpersistence, c.relreplident, n.nspname, c.relname,
           c.relispartition, format('%I.%I', n.nspname, c.relname) AS quoted
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'xtask_cutover')
      AND n.nspname NOT LIKE 'pg\_%'
      AND NOT EXISTS (SELECT FROM pg_depend AS d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                        AND d.deptype = 'e')
)
SELECT 'replica-identity',
       format('table %s has no primary key and no replica identity: '
               'its updates and deletes cannot be followed', quoted),
       format('on the source: ALTER TABLE %s REPLICA IDENTITY FULL', quoted)
FROM ours
WHERE relkind IN ('r', 'p')
  AND (relreplident = 'n'
       OR (relreplident = 'd' AND NOT EXISTS (
               SELECT FROM pg_index AS i WHERE i.indrelid = ours.oid AND i.indisprimary)))
UNION ALL
SELECT 'identity-type',
       format('table %s is replicated by whole rows, '
               'and column %I has type %s, which has no equality',
              quoted, a.attname, format_type(a.atttypid, a.atttypmod)),
       format('on the source: give %s a primary key', quoted)
FROM ours
JOIN pg_attribute AS a ON a.attrelid = ours.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS t ON t.oid = a.atttypid
WHERE relkind IN ('r', 'p') AND relreplident = 'f'
  AND t.typtype = 'b' AND t.typcategory <> 'A'
  AND NOT EXISTS (
      SELECT FROM pg_opclass AS o
      JOIN pg_am AS m ON m.oid = o.opcmethod AND m.amname IN ('btree', 'hash')
      WHERE o.opcdefault
        AND (o.opcintype = t.oid
             OR EXISTS (SELECT FROM pg_cast AS cast_to
                        WHERE cast_to.castsource = t.oid AND cast_to.casttarget = o.opcintype
                          AND cast_to.castmethod = 'b' AND cast_to.castcontext = 'i')))
UNION ALL
SELECT 'unlogged-table',
       format('table %s is unlogged: it is not replicated', quoted),
       format('on the source: ALTER TABLE %s SET LOGGED', quoted)
FROM ours WHERE relkind = 'r' AND relpersistence = 'u'
UNION ALL
SELECT 'foreign-table',
       format('foreign table %s lives on another server', quoted),
       format('on the source: DROP FOREIGN TABLE %s, and make it anew on the target afterwards',
               quoted)
FROM ours WHERE relkind = 'f'
UNION ALL
SELECT 'large-objects',
       format('there are %s large objects, which are not replicated', count(*)),
       'move them into bytea columns, or lo_unlink() what nobody needs'
FROM pg_largeobject_metadata
HAVING count(*) > 0
UNION ALL
SELECT 'always-trigger',
       format('trigger %I on %s fires for replicated rows too, and would act twice',
               t.tgname, quoted),
       format('on the source: ALTER TABLE %s ENABLE TRIGGER %I', quoted, t.tgname)
FROM ours JOIN pg_trigger AS t ON t.tgrelid = ours.oid
WHERE NOT t.tgisinternal AND t.tgenabled IN ('A', 'R')
UNION ALL
SELECT 'invalid-index',
       format('index %s is invalid: no dump carries it, and no query uses it',
               i.indexrelid::regclass),
       format('on the source: REINDEX INDEX CONCURRENTLY %1$s, or DROP INDEX %1$s',
               i.indexrelid::regclass)
FROM pg_index AS i JOIN ours ON ours.oid = i.indrelid
WHERE NOT i.indisvalid AND ours.relkind <> 'p'
UNION ALL
SELECT 'role-read-only',
       format('role %s sets default_transaction_read_only itself, and so passes the fence',
               rolname),
       format('on the source: ALTER ROLE %I%s RESET default_transaction_read_only', rolname,
              CASE WHEN s.setdatabase = 0 THEN ''
                   ELSE format(' IN DATABASE %I', current_database()) END)
FROM pg_db_role_setting AS s
JOIN pg_roles AS r ON r.oid = s.setrole,
     unnest(s.setconfig) AS setting
WHERE setting LIKE 'default\_transaction\_read\_only=%'
  AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
ORDER BY 1, 2
