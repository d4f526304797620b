-- NOT NULL is a property of columns here: only PostgreSQL 18 keeps rows for it. A foreign key that
-- a partition has from its parent is named by the server as it likes: it is called by its parent.
SELECT 'constraint',
       CASE WHEN parent.oid IS NULL THEN format('%I on %s', c.conname, r.title)
            ELSE format('part of %I on %s', parent.conname, r.title) END,
       pg_get_constraintdef(c.oid), r.root
  FROM pg_constraint c
  JOIN relation r ON r.oid = c.conrelid
  LEFT JOIN pg_constraint parent ON parent.oid = c.conparentid AND c.contype = 'f'
 WHERE c.contype NOT IN ('n', 't')
   AND (parent.oid IS NULL OR parent.conrelid <> c.conrelid)
