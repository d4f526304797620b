SELECT 'column', format('%s.%I', r.title, a.attname),
       concat_ws(' ',
           'number ' || row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum) || ',',
           format_type(a.atttypid, a.atttypmod),
           CASE WHEN a.attcollation <> t.typcollation THEN 'collate ' || c.meaning END,
           CASE WHEN a.attnotnull THEN 'not null' END,
           CASE a.attidentity WHEN 'a' THEN 'identity always'
                WHEN 'd' THEN 'identity by default' END,
           CASE WHEN d.oid IS NOT NULL THEN
               CASE a.attgenerated WHEN 's' THEN 'generated stored '
                    WHEN 'v' THEN 'generated virtual '
                    ELSE 'default ' END || pg_get_expr(d.adbin, d.adrelid) END),
       r.root
  FROM relation r
  JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN collation_meaning c ON c.oid = a.attcollation
  LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
 WHERE r.relkind <> 'S'
