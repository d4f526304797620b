-- What decides whether a value of a type may travel in the binary format between two servers.
SELECT t.oid,
       t.typname::text AS name,
       t.typtype::text AS kind,
       t.typbasetype AS base,
       CASE WHEN t.typsubscript = 'array_subscript_handler'::regproc THEN t.typelem ELSE 0::oid END
           AS element,
       coalesce(r.rngsubtype, m.rngsubtype, 0::oid) AS subtype,
       e.extname::text AS extension,
       t.typsend <> 0 AND t.typreceive <> 0 AS travels
  FROM pg_type t
  LEFT JOIN pg_range r ON r.rngtypid = t.oid
  LEFT JOIN pg_range m ON m.rngmultitypid = t.oid
  LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
  LEFT JOIN pg_extension e ON e.oid = d.refobjid
