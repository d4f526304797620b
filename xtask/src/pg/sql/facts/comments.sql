SELECT 'comment', i.type || ' ' || i.identity, d.description,
       coalesce((SELECT r.root FROM relation r
                 WHERE d.classoid = 'pg_class'::regclass AND r.oid = d.objoid),
                i.identity)
  FROM pg_description d
  CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) AS i
 WHERE d.objoid >= 16384
   AND d.classoid <> 'pg_extension'::regclass
   AND coalesce(i.schema, '') !~ '^(pg_|information_schema$|xtask_cutover$)'
   AND i.identity <> 'xtask_cutover'
   AND (d.classoid, d.objoid) NOT IN (SELECT classid, objid FROM extension_member)
