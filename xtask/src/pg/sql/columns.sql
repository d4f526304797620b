-- The columns of the given relations, in their order.
SELECT a.attrelid AS relation,
       a.attname::text AS name,
       a.atttypid AS type_oid,
       format_type(a.atttypid, a.atttypmod) AS type_name,
       a.attgenerated::text AS generated,
       a.attidentity::text AS identity,
       a.attnotnull AS not_null,
       CASE WHEN a.attcollation <> 0
            THEN (SELECT format('%I.%I', n.nspname, l.collname)
                    FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace
                   WHERE l.oid = a.attcollation) END AS collation
  FROM pg_attribute a
 WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum
