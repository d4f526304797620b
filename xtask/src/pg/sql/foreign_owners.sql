-- Objects of the service whose owner's rights our role has not, and the database: title, owner, the
-- statement that mends it. To restore an owner elsewhere one must be able to become it. A superuser
-- is nobody to be a member of: what belongs to one changes hands.
WITH extension_member AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), space AS MATERIALIZED (
    SELECT oid, nspname FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'xtask_cutover')
), owned (class, oid, owner) AS (
    SELECT 'pg_class'::regclass, c.oid, relowner FROM pg_class AS c
    WHERE relnamespace IN (SELECT oid FROM space) AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
      AND relpersistence <> 't'
      -- A sequence of a column follows its table.
      AND NOT (relkind = 'S' AND EXISTS (
                   SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass
                     AND d.objid = c.oid AND d.deptype IN ('a', 'i')
                     AND d.refclassid = 'pg_class'::regclass))
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, proowner FROM pg_proc AS p
    WHERE pronamespace IN (SELECT oid FROM space)
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass
                        AND d.objid = p.oid AND d.refclassid = 'pg_type'::regclass
                        AND d.deptype = 'i')
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, typowner FROM pg_type AS t
    WHERE typnamespace IN (SELECT oid FROM space) AND typtype IN ('c', 'd', 'e', 'r')
      AND (typrelid = 0 OR EXISTS (SELECT FROM pg_class AS c
                                   WHERE c.oid = typrelid AND c.relkind = 'c'))
    UNION ALL
    SELECT 'pg_namespace'::regclass, n.oid, nspowner FROM pg_namespace AS n
    WHERE n.oid IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_database'::regclass, oid, datdba FROM pg_database
    WHERE datname = current_database()
)
SELECT format('%s %s', i.type, i.identity), r.rolname::text,
       CASE WHEN r.rolsuper THEN format('ALTER %s %s OWNER TO %I',
               CASE i.type WHEN 'composite type' THEN 'type' ELSE i.type END, i.identity,
               current_user)
            ELSE format('GRANT %I TO %I', r.rolname, current_user) END
FROM owned
JOIN pg_roles AS r ON r.oid = owned.owner
CROSS JOIN LATERAL pg_identify_object(owned.class, owned.oid, 0) AS i
WHERE (class, owned.oid) NOT IN (SELECT classid, objid FROM extension_member)
  -- Who owns the database is one of these without a word.
  AND r.rolname <> 'pg_database_owner'
  AND NOT pg_has_role(owned.owner, 'USAGE')
ORDER BY class = 'pg_database'::regclass DESC, r.rolsuper, r.rolname, 1
