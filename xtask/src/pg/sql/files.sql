-- The file of every table with rows: cheap enough for the pause.
SELECT n.nspname || '.' || c.relname AS title, pg_relation_filenode(c.oid) AS file
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence <> 't'
   AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'xtask_cutover')
