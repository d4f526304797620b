-- Statements that empty a database of everything but extensions and the tool's own schema, for a
-- target that was empty before. `$1` keeps the objects of search, which stood there before.
-- Schemas of ours go whole; in `public`, object by object. What is a
-- part of another object, as an identity column's sequence or a range type's constructor, goes with
-- it and cannot be dropped by itself. (A partitioned table is no part of itself, though its key's
-- columns are of it.)
WITH not_alone AS (
    SELECT classid, objid FROM pg_depend WHERE deptype IN ('e', 'i') AND objsubid = 0
)
SELECT format('DROP SCHEMA IF EXISTS %I CASCADE', nspname), 1 AS rank
FROM pg_namespace AS n
WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'public', 'xtask_cutover')
  AND nspname NOT LIKE 'pg\_%'
  AND NOT ($1 AND EXISTS (SELECT FROM pg_class AS c
                          WHERE c.relnamespace = n.oid AND c.relname LIKE 'rag\_%'))
  -- An extension of search lives here that was there before: the image of ParadeDB brings it. What
  -- the run itself made of them is gone by now.
  AND NOT EXISTS (SELECT FROM pg_extension AS e
                  WHERE e.extnamespace = n.oid AND e.extname IN ('pg_search', 'vector'))
  AND NOT EXISTS (SELECT FROM not_alone AS e
                  WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid)
UNION ALL
SELECT format('DROP %s IF EXISTS %I.%I CASCADE',
              CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                           WHEN 'S' THEN 'SEQUENCE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END,
              'public', relname), 2
FROM pg_class AS c
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'c')
  AND NOT relispartition
  AND NOT ($1 AND relname LIKE 'rag\_%')
  AND NOT EXISTS (SELECT FROM not_alone AS e
                  WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)
UNION ALL
SELECT format('DROP ROUTINE IF EXISTS %s CASCADE', oid::regprocedure), 3
FROM pg_proc AS p
WHERE pronamespace = 'public'::regnamespace AND prokind <> 'a'
  AND NOT ($1 AND proname LIKE 'rag\_%')
  AND NOT EXISTS (SELECT FROM not_alone AS e
                  WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)
UNION ALL
SELECT format('DROP AGGREGATE IF EXISTS %s CASCADE', oid::regprocedure), 3
FROM pg_proc AS p
WHERE pronamespace = 'public'::regnamespace AND prokind = 'a'
  AND NOT EXISTS (SELECT FROM not_alone AS e
                  WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)
UNION ALL
SELECT format('DROP TYPE IF EXISTS public.%I CASCADE', typname), 4
FROM pg_type AS t
WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd', 'r')
  AND NOT EXISTS (SELECT FROM not_alone AS e
                  WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)
UNION ALL
SELECT format('DROP EVENT TRIGGER IF EXISTS %I', evtname), 5
FROM pg_event_trigger AS t
WHERE NOT EXISTS (SELECT FROM not_alone AS e
                  WHERE e.classid = 'pg_event_trigger'::regclass AND e.objid = t.oid)
ORDER BY rank
