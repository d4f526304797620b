-- The roles that matter here: they own something, are granted something, or are members of such a
-- role; what they may do, what they are members of, and what is set for them.
, held AS MATERIALIZED (
    SELECT refobjid AS role FROM pg_shdepend
     WHERE refclassid = 'pg_authid'::regclass
       AND (dbid = (SELECT oid FROM database)
            OR (classid = 'pg_database'::regclass AND objid = (SELECT oid FROM database)))
    UNION SELECT relowner FROM relation
    UNION SELECT proowner FROM routine
    UNION SELECT nspowner FROM space
    UNION SELECT datdba FROM database
), matters AS MATERIALIZED (
    WITH RECURSIVE reach(role) AS (
        SELECT h.role FROM held h JOIN pg_roles r ON r.oid = h.role
         WHERE r.rolname !~ '^(pg|xtask)_'
        UNION
        SELECT m.member FROM pg_auth_members m JOIN reach ON reach.role = m.roleid
          JOIN pg_roles r ON r.oid = m.member WHERE r.rolname !~ '^xtask_')
    SELECT r.* FROM reach JOIN pg_roles r ON r.oid = reach.role
)
SELECT 'role', quote_ident(m.rolname),
       concat_ws(', ',
           CASE WHEN m.rolcanlogin THEN 'login' ELSE 'no login' END,
           CASE WHEN m.rolsuper THEN 'superuser' END,
           CASE WHEN NOT m.rolinherit THEN 'no inherit' END,
           CASE WHEN m.rolcreaterole AND NOT m.rolsuper THEN 'create role' END,
           CASE WHEN m.rolcreatedb AND NOT m.rolsuper THEN 'create database' END,
           CASE WHEN m.rolreplication AND NOT m.rolsuper THEN 'replication' END,
           CASE WHEN m.rolbypassrls AND NOT m.rolsuper THEN 'bypass row security' END,
           CASE WHEN m.rolconnlimit <> -1 THEN 'connection limit ' || m.rolconnlimit END,
           'valid until ' || m.rolvaliduntil),
       'role ' || m.rolname
  FROM matters m
UNION ALL
SELECT 'membership', format('%I in %I', m.rolname, g.rolname),
       concat_ws(', ', 'member',
           CASE WHEN bool_or(a.admin_option) THEN 'with admin option' END,
           -- Before 16 both follow from the member's own attribute, which is a fact of its own.
           CASE WHEN NOT coalesce(bool_or((to_jsonb(a) ->> 'inherit_option')::boolean),
                                  m.rolinherit)
                     AND m.rolinherit THEN 'without inherit' END,
           CASE WHEN NOT coalesce(bool_or((to_jsonb(a) ->> 'set_option')::boolean), true)
                THEN 'without set' END),
       'role ' || m.rolname
  FROM pg_auth_members a
  JOIN matters m ON m.oid = a.member
  JOIN pg_roles g ON g.oid = a.roleid
 WHERE g.rolname !~ '^xtask_'
   -- What this tool asks of its own role says nothing about the service.
   AND NOT (m.rolname = session_user AND g.rolname IN
            ('pg_create_subscription', 'pg_signal_backend', 'pg_read_all_stats'))
 GROUP BY m.rolname, g.rolname, m.rolinherit
UNION ALL
-- The read-only default is this tool's own fence.
SELECT 'setting',
       format('%s of %s%s', split_part(entry, '=', 1), coalesce(quote_ident(m.rolname), 'everyone'),
           CASE WHEN s.setdatabase = 0 THEN '' ELSE ' in this database' END),
       substr(entry, strpos(entry, '=') + 1),
       coalesce('role ' || m.rolname, 'database')
  FROM pg_db_role_setting s
  CROSS JOIN LATERAL unnest(s.setconfig) AS entry
  LEFT JOIN matters m ON m.oid = s.setrole
 WHERE s.setdatabase IN (0, (SELECT oid FROM database))
   AND (s.setrole = 0 OR m.oid IS NOT NULL)
   AND split_part(entry, '=', 1) <> 'default_transaction_read_only'
