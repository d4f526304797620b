-- One fact for each object and grantee. What NULL stands for is written out, so that an explicit
-- list that says the same compares equal. MAINTAIN is new in 17 and is left out.
SELECT 'grant', format('%s to %s', o.title, grantee.name),
       string_agg(a.privilege_type
                  || CASE WHEN a.is_grantable THEN ' with grant option' ELSE '' END, ', '
           ORDER BY a.privilege_type),
       o.root
  FROM (SELECT title, root, coalesce(relacl, acldefault(
                 CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) AS acl
          FROM relation WHERE relkind <> 'c'
        UNION ALL
        SELECT format('%s.%I', r.title, a.attname), r.root, a.attacl
          FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid
         WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
        UNION ALL
        SELECT title, root, coalesce(proacl, acldefault('f', proowner)) FROM routine
        UNION ALL
        SELECT title, root, coalesce(typacl, acldefault('T', typowner)) FROM named_type
        UNION ALL
        SELECT quote_ident(name), name, coalesce(nspacl, acldefault('n', nspowner)) FROM space
         WHERE ('pg_namespace'::regclass, oid) NOT IN (SELECT classid, objid FROM extension_member)
        UNION ALL
        SELECT 'database', 'database', coalesce(datacl, acldefault('d', datdba)) FROM database) AS o
  CROSS JOIN LATERAL aclexplode(o.acl) AS a
  CROSS JOIN LATERAL (SELECT CASE WHEN a.grantee = 0 THEN 'public'
                             ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS name) AS grantee
 WHERE a.privilege_type <> 'MAINTAIN' AND grantee.name !~ '^xtask_'
 GROUP BY o.title, o.root, grantee.name
UNION ALL
SELECT 'default privileges',
       format('of %I%s for %s to %s', pg_get_userbyid(d.defaclrole),
           ' in ' || nullif(d.defaclnamespace, 0)::regnamespace::text, d.defaclobjtype,
           grantee.name),
       string_agg(a.privilege_type
                  || CASE WHEN a.is_grantable THEN ' with grant option' ELSE '' END, ', '
           ORDER BY a.privilege_type),
       'default privileges'
  FROM pg_default_acl d
  CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
  CROSS JOIN LATERAL (SELECT CASE WHEN a.grantee = 0 THEN 'public'
                             ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS name) AS grantee
 WHERE a.privilege_type <> 'MAINTAIN' AND grantee.name !~ '^xtask_'
 GROUP BY d.defaclrole, d.defaclnamespace, d.defaclobjtype, grantee.name
