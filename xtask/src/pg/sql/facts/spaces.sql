SELECT 'schema', quote_ident(s.name), 'schema', s.name
  FROM space s
 WHERE ('pg_namespace'::regclass, s.oid) NOT IN (SELECT classid, objid FROM extension_member)
UNION ALL
-- Its version is noted by others: two servers may well run different ones.
SELECT 'extension', quote_ident(e.extname), 'in schema ' || e.extnamespace::regnamespace::text,
       e.extname::text
  FROM pg_extension e
UNION ALL
SELECT 'database', 'encoding', pg_encoding_to_char(encoding), 'database' FROM database
UNION ALL
SELECT 'database', 'collation',
       CASE datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' ELSE 'builtin' END || ' '
       || replace(lower(concat_ws(', ', datcollate, datctype,
              coalesce(to_jsonb(d) ->> 'datlocale',
                       to_jsonb(d) ->> 'daticulocale'))), 'utf-8', 'utf8'),
       'database'
  FROM database d
UNION ALL
-- Objects of rarer kinds, by their identity.
SELECT i.type, i.identity, 'owner ' || pg_get_userbyid(o.owner), i.identity
  FROM (SELECT 'pg_operator'::regclass AS class, oid, oprowner AS owner FROM pg_operator
        UNION ALL SELECT 'pg_collation'::regclass, oid, collowner FROM pg_collation
        UNION ALL SELECT 'pg_conversion'::regclass, oid, conowner FROM pg_conversion
        UNION ALL SELECT 'pg_opclass'::regclass, oid, opcowner FROM pg_opclass
        UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfowner FROM pg_opfamily
        UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgowner FROM pg_ts_config
        UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictowner FROM pg_ts_dict
        UNION ALL SELECT 'pg_language'::regclass, oid, lanowner FROM pg_language
        UNION ALL SELECT 'pg_foreign_server'::regclass, oid, srvowner FROM pg_foreign_server
        UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, fdwowner
        FROM pg_foreign_data_wrapper
        UNION ALL SELECT 'pg_cast'::regclass, oid, NULL FROM pg_cast
        UNION ALL SELECT 'pg_transform'::regclass, oid, NULL FROM pg_transform) AS o
  CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0) AS i
 WHERE o.oid >= 16384 AND coalesce(i.schema, '') <> 'xtask_cutover'
   AND (o.class, o.oid) NOT IN (SELECT classid, objid FROM extension_member)
