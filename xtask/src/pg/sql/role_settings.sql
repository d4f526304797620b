-- Settings by database and role that hold in this database: whose, `name=value`. $1: only those of
-- roles that own or are granted something here; an empty target has no such roles yet.
SELECT CASE
           WHEN s.setrole = 0 THEN format('DATABASE %I', current_database())
           WHEN s.setdatabase = 0 THEN format('ROLE %I', r.rolname)
           ELSE format('ROLE %I IN DATABASE %I', r.rolname, current_database())
       END,
       setting
FROM pg_db_role_setting AS s
LEFT JOIN pg_roles AS r ON r.oid = s.setrole,
     unnest(s.setconfig) AS setting
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND setting NOT LIKE 'default\_transaction\_read\_only=%'
  AND (NOT $1 OR s.setrole = 0 OR EXISTS (
          SELECT FROM pg_shdepend AS d
          WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = s.setrole
            AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())))
ORDER BY 1, 2
