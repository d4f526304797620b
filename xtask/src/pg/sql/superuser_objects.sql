-- What only a superuser can restore: what it is, what mends it. $1: the extensions that the target
-- has, or that its role may make there.
WITH extension_member AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), found (class, oid) AS (
    SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
    WHERE (NOT l.lanpltrusted OR p.proleakproof)
      -- The functions of a range type come with it.
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass
                        AND d.objid = p.oid AND d.refclassid = 'pg_type'::regclass
                        AND d.deptype = 'i')
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid FROM pg_type AS t
    WHERE typtype = 'b' AND NOT (typelem <> 0
          AND typsubscript = 'array_subscript_handler'::regproc)
    UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
    UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast WHERE castmethod = 'b'
    UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser
    UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template
    UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am
)
SELECT format('%s %s', i.type, i.identity), 'connect to the target as a superuser'
FROM found CROSS JOIN LATERAL pg_identify_object(found.class, found.oid, 0) AS i
WHERE found.oid >= 16384
  AND coalesce(i.schema, '') NOT IN ('pg_catalog', 'information_schema', 'xtask_cutover')
  AND (found.class, found.oid) NOT IN (SELECT classid, objid FROM extension_member)
UNION ALL
SELECT format('extension %I', extname), format('on the target: CREATE EXTENSION %I', extname)
FROM pg_extension WHERE extname <> ALL ($1)
ORDER BY 1
