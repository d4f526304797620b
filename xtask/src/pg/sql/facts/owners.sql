SELECT 'owner', o.title, quote_ident(pg_get_userbyid(o.owner)), o.root
  FROM (SELECT title, root, relowner AS owner FROM relation WHERE relkind <> 'c'
        UNION ALL SELECT title, root, proowner FROM routine
        UNION ALL SELECT title, root, typowner FROM named_type
        UNION ALL SELECT quote_ident(name), name, nspowner FROM space
         WHERE ('pg_namespace'::regclass, oid) NOT IN (SELECT classid, objid FROM extension_member)
        UNION ALL SELECT 'database', 'database', datdba FROM database) AS o
