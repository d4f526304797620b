SELECT fact.kind, r.title, fact.definition, r.root
  FROM relation r
  LEFT JOIN pg_am a ON a.oid = r.relam
  CROSS JOIN LATERAL (VALUES
      ('relation', concat_ws(' ',
          CASE r.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table'
               WHEN 'v' THEN 'view'
               WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
               WHEN 'f' THEN 'foreign table'
               ELSE 'composite type' END,
          CASE r.relpersistence WHEN 'u' THEN 'unlogged' END,
          CASE WHEN a.amname <> 'heap' THEN 'using ' || a.amname END)),
      ('options', (SELECT string_agg(o, ', ' ORDER BY o) FROM unnest(r.reloptions) AS o)),
      ('row security', CASE WHEN r.relrowsecurity OR r.relforcerowsecurity THEN concat_ws(', ',
          CASE WHEN r.relrowsecurity THEN 'enabled' END,
          CASE WHEN r.relforcerowsecurity THEN 'forced' END) END),
      ('replica identity', CASE WHEN r.relkind IN ('r', 'p') THEN CASE r.relreplident
          WHEN 'f' THEN 'full' WHEN 'n' THEN 'nothing'
          WHEN 'i' THEN (SELECT format('index %I', x.relname) FROM pg_index i
                          JOIN pg_class x ON x.oid = i.indexrelid
                         WHERE i.indrelid = r.oid AND i.indisreplident) END END),
      ('partition key', pg_get_partkeydef(r.oid)),
      ('partition bound', pg_get_expr(r.relpartbound, r.oid)),
      ('parents', (SELECT string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
                     FROM pg_inherits i WHERE i.inhrelid = r.oid))
  ) AS fact(kind, definition)
 WHERE fact.definition IS NOT NULL
