-- Roles that own something in this database, or were granted something: name, may log in.
SELECT DISTINCT r.rolname::text, r.rolcanlogin
FROM pg_shdepend AS d
JOIN pg_roles AS r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_authid'::regclass
  AND (d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
       OR (d.classid = 'pg_database'::regclass
           AND d.objid = (SELECT oid FROM pg_database WHERE datname = current_database())))
  AND r.rolname NOT LIKE 'pg\_%' AND r.rolname NOT LIKE 'xtask\_%'
ORDER BY 1
