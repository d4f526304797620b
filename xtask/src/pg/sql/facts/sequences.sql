SELECT 'sequence', r.title,
       concat_ws(' ', format_type(s.seqtypid, NULL), 'start', s.seqstart,
           'increment', s.seqincrement,
           'min', s.seqmin, 'max', s.seqmax, 'cache', s.seqcache,
           CASE WHEN s.seqcycle THEN 'cycle' END,
           (SELECT format('owned by %s.%I', d.refobjid::regclass, a.attname)
              FROM pg_depend d
               JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
             WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid
               AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i'))),
       r.root
  FROM relation r JOIN pg_sequence s ON s.seqrelid = r.oid
