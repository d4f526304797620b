SELECT 'type', t.title,
       CASE t.typtype
       WHEN 'e' THEN 'enum (' || coalesce((
           SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
                                    FROM pg_enum WHERE enumtypid = t.oid), '') || ')'
       WHEN 'd' THEN concat_ws(' ', 'domain over', format_type(t.typbasetype, t.typtypmod),
           CASE WHEN t.typcollation <> b.typcollation THEN 'collate ' || c.meaning END,
           CASE WHEN t.typnotnull THEN 'not null' END, 'default ' || t.typdefault)
       WHEN 'r' THEN (SELECT concat_ws(' ', 'range over', format_type(g.rngsubtype, NULL),
                          'collate ' || rc.meaning,
                          'canonical', g.rngcanonical::regproc, 'difference',
                          g.rngsubdiff::regproc, 'multirange', format_type(g.rngmultitypid, NULL))
                        FROM pg_range g LEFT JOIN collation_meaning rc ON rc.oid = g.rngcollation
                       WHERE g.rngtypid = t.oid)
       WHEN 'c' THEN 'composite'
       ELSE concat_ws(' ', 'base', t.typinput::regproc, t.typoutput::regproc, t.typlen, t.typalign,
           t.typstorage) END,
       t.root
  FROM named_type t
  LEFT JOIN pg_type b ON b.oid = t.typbasetype
  LEFT JOIN collation_meaning c ON c.oid = t.typcollation
UNION ALL
SELECT 'domain check', format('%I on %s', c.conname, t.title), pg_get_constraintdef(c.oid), t.root
  FROM pg_constraint c JOIN named_type t ON t.oid = c.contypid
 WHERE c.contype <> 'n'
