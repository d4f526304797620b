SELECT 'policy', format('%I on %s', p.polname, r.title),
       concat_ws(' ', CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END,
           'for', p.polcmd, 'to',
           (SELECT string_agg(
                CASE WHEN o = 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(o)) END, ', '
                       ORDER BY pg_get_userbyid(o)) FROM unnest(p.polroles) AS o),
           'using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
           'with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')'),
       r.root
  FROM pg_policy p JOIN relation r ON r.oid = p.polrelid
