-- Every ordinary table, partition and partitioned table that belongs to the service.
SELECT c.oid,
       n.nspname::text AS schema,
       c.relname::text AS name,
       c.relkind::text AS kind,
       c.relispartition AS is_partition,
       c.relpersistence::text AS persistence,
       c.relreplident::text AS replica_identity,
       c.relrowsecurity AS row_security,
       greatest(c.reltuples, 0)::bigint AS rows,
       CASE WHEN c.relkind = 'r' THEN pg_table_size(c.oid) ELSE 0 END AS bytes,
       CASE WHEN c.relkind = 'r'
            THEN pg_relation_size(c.oid) / current_setting('block_size')::bigint
            ELSE 0 END AS pages,
       coalesce(pg_relation_filenode(c.oid), 0)::oid AS file,
       parent_schema.nspname::text AS parent_schema,
       parent.relname::text AS parent_name,
       root_schema.nspname::text AS root_schema,
       root.relname::text AS root_name,
       c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid) AS has_children,
       (SELECT array_agg(a.attname::text ORDER BY k.position)
          FROM pg_index i,
               unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k(number, position)
               JOIN pg_attribute a ON a.attnum = k.number
         WHERE i.indexrelid = identity.indexrelid AND a.attrelid = c.oid) AS key
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN LATERAL (SELECT inhparent FROM pg_inherits
                      WHERE inhrelid = c.oid ORDER BY inhseqno LIMIT 1) AS i ON true
  LEFT JOIN pg_class parent ON parent.oid = i.inhparent
  LEFT JOIN pg_namespace parent_schema ON parent_schema.oid = parent.relnamespace
  LEFT JOIN pg_class root ON root.oid = pg_partition_root(c.oid) AND root.oid <> c.oid
  LEFT JOIN pg_namespace root_schema ON root_schema.oid = root.relnamespace
  LEFT JOIN LATERAL (SELECT indexrelid FROM pg_index
                      WHERE indrelid = c.oid AND indisvalid
                        AND (indisprimary OR (indisreplident AND c.relreplident = 'i'))
                      ORDER BY indisprimary DESC LIMIT 1) AS identity ON true
 WHERE c.relkind IN ('r', 'p')
   AND c.relpersistence <> 't'
   AND n.nspname !~ '^pg_'
   AND n.nspname NOT IN ('information_schema', 'xtask_cutover')
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY n.nspname, c.relname
