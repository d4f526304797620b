-- Tables of the service, partitions as well, without the fence's trigger: schema, name.
SELECT n.nspname::text, c.relname::text
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'xtask_cutover')
  AND NOT EXISTS (SELECT FROM pg_depend AS d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  AND NOT EXISTS (SELECT FROM pg_trigger AS t
                  WHERE t.tgrelid = c.oid AND t.tgname = 'xtask_fence'
                    AND t.tgenabled IN ('O', 'A'))
ORDER BY 1, 2
