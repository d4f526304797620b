-- What every query of this folder starts from: the objects that belong to the service, without
-- those of PostgreSQL, of extensions and of this tool. `root` is an unquoted name, for people and
-- for lists of what is outside; `title` is quoted.
WITH extension_member AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), space AS MATERIALIZED (
    SELECT oid, nspname::text AS name, nspowner, nspacl
      FROM pg_namespace
     WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'xtask_cutover')
), relation AS MATERIALIZED (
    SELECT c.*, format('%I.%I', s.name, c.relname) AS title, s.name || '.' || c.relname AS root
      FROM pg_class c JOIN space s ON s.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c') AND c.relpersistence <> 't'
       AND ('pg_class'::regclass, c.oid) NOT IN (SELECT classid, objid FROM extension_member)
       AND ('pg_type'::regclass, c.reltype) NOT IN (SELECT classid, objid FROM extension_member)
), routine AS MATERIALIZED (
    SELECT p.*,
           format('%I.%I(%s)', s.name, p.proname, pg_get_function_identity_arguments(p.oid))
               AS title,
           s.name || '.' || p.proname AS root
      FROM pg_proc p JOIN space s ON s.oid = p.pronamespace
     WHERE p.oid >= 16384
       AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM extension_member)
       -- The functions that PostgreSQL makes for a range type follow from the type.
       AND NOT EXISTS (SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                          AND d.refclassid = 'pg_type'::regclass AND d.deptype = 'i')
), named_type AS MATERIALIZED (
    SELECT t.*, format('%I.%I', s.name, t.typname) AS title, s.name || '.' || t.typname AS root
      FROM pg_type t JOIN space s ON s.oid = t.typnamespace
     WHERE t.oid >= 16384 AND t.typtype IN ('b', 'c', 'd', 'e', 'r')
       AND NOT (t.typtype = 'b' AND t.typelem <> 0
                AND t.typsubscript = 'array_subscript_handler'::regproc)
       AND (t.typrelid = 0
            OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
       AND ('pg_type'::regclass, t.oid) NOT IN (SELECT classid, objid FROM extension_member)
), database AS MATERIALIZED (
    SELECT * FROM pg_database WHERE datname = current_database()
), collation_meaning AS MATERIALIZED (
    -- A collation by what it does: its provider and its locale, spelled one way.
    SELECT l.oid,
           CASE l.collprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin'
                ELSE 'default' END
           || coalesce(' ' || replace(lower(coalesce(
                  l.collcollate, to_jsonb(l) ->> 'colllocale', to_jsonb(l) ->> 'colliculocale')),
              'utf-8', 'utf8'), '') AS meaning
      FROM pg_collation l
)
