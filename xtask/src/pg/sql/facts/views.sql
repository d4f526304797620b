SELECT 'view', r.title, pg_get_viewdef(r.oid), r.root
  FROM relation r WHERE r.relkind IN ('v', 'm')
