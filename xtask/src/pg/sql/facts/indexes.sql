SELECT 'index', format('%I on %s', x.relname, r.title),
       concat_ws(', ', pg_get_indexdef(i.indexrelid),
           CASE WHEN NOT i.indisvalid THEN 'invalid' END,
           CASE WHEN NOT i.indisready THEN 'not ready' END,
           CASE WHEN i.indisclustered THEN 'clustered' END,
           (SELECT 'part of ' || h.inhparent::regclass::text FROM pg_inherits h
             WHERE h.inhrelid = i.indexrelid)),
       r.root
  FROM pg_index i
  JOIN relation r ON r.oid = i.indrelid
  JOIN pg_class x ON x.oid = i.indexrelid
UNION ALL
SELECT 'statistics', format('%I.%I', s.stxnamespace::regnamespace::text, s.stxname),
       pg_get_statisticsobjdef(s.oid), r.root
  FROM pg_statistic_ext s JOIN relation r ON r.oid = s.stxrelid
