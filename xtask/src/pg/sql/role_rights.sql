-- What roles may do and what they are members of: role, what, the statement that brings it about,
-- the one that takes it away. $1: their names.
WITH wanted AS (
    SELECT * FROM pg_roles WHERE rolname = ANY ($1)
), attribute (role, held, keyword) AS (
    SELECT rolname, rolsuper, 'SUPERUSER' FROM wanted
    UNION ALL SELECT rolname, rolcanlogin, 'LOGIN' FROM wanted
    UNION ALL SELECT rolname, rolinherit, 'INHERIT' FROM wanted
    UNION ALL SELECT rolname, rolcreaterole, 'CREATEROLE' FROM wanted WHERE NOT rolsuper
    UNION ALL SELECT rolname, rolcreatedb, 'CREATEDB' FROM wanted WHERE NOT rolsuper
    UNION ALL SELECT rolname, rolreplication, 'REPLICATION' FROM wanted WHERE NOT rolsuper
    UNION ALL SELECT rolname, rolbypassrls, 'BYPASSRLS' FROM wanted WHERE NOT rolsuper
)
SELECT role::text, lower(keyword), format('ALTER ROLE %I %s', role, keyword),
       format('ALTER ROLE %I NO%s', role, keyword)
FROM attribute WHERE held
UNION ALL
SELECT rolname::text, 'connection limit ' || rolconnlimit,
       format('ALTER ROLE %I CONNECTION LIMIT %s', rolname, rolconnlimit),
       format('ALTER ROLE %I CONNECTION LIMIT -1', rolname)
FROM wanted WHERE rolconnlimit <> -1
UNION ALL
SELECT rolname::text, 'valid until ' || rolvaliduntil,
       format('ALTER ROLE %I VALID UNTIL %L', rolname, rolvaliduntil),
       format('ALTER ROLE %I VALID UNTIL ''infinity''', rolname)
FROM wanted WHERE rolvaliduntil IS NOT NULL
UNION ALL
SELECT w.rolname::text,
       format('member of %I%s', g.rolname,
              CASE WHEN bool_or(a.admin_option) THEN ' with admin option' ELSE '' END),
       format('GRANT %I TO %I%s', g.rolname, w.rolname,
              CASE WHEN bool_or(a.admin_option) THEN ' WITH ADMIN OPTION' ELSE '' END),
       format('REVOKE %I FROM %I', g.rolname, w.rolname)
FROM wanted AS w
JOIN pg_auth_members AS a ON a.member = w.oid
JOIN pg_roles AS g ON g.oid = a.roleid
WHERE g.rolname !~ '^xtask_'
  -- What this tool asks of its own role says nothing about the service.
  AND g.rolname NOT IN ('pg_create_subscription', 'pg_signal_backend', 'pg_read_all_stats')
GROUP BY w.rolname, g.rolname
ORDER BY 1, 2
