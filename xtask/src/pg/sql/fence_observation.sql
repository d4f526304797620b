-- The first gap in the fence of this database, or NULL. $1: our own backends. $2: whether we are a
-- superuser. The owner of a database cannot keep sessions out: one that began behind the fence, or
-- a superuser's that is in no transaction, is held by the triggers, and is no gap.
SELECT coalesce(
    (SELECT 'its connection limit is ' || datconnlimit
     FROM pg_database WHERE $2 AND datname = current_database() AND datconnlimit <> 0),
    (SELECT 'new sessions may write'
     WHERE NOT EXISTS (
         SELECT FROM pg_db_role_setting AS s, unnest(s.setconfig) AS setting
         WHERE s.setrole = 0
           AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND setting = 'default_transaction_read_only=on')),
    (SELECT format('role %s sets default_transaction_read_only itself', r.rolname)
     FROM pg_db_role_setting AS s
     JOIN pg_roles AS r ON r.oid = s.setrole,
          unnest(s.setconfig) AS setting
     WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
       AND setting LIKE 'default\_transaction\_read\_only=%'
     LIMIT 1),
    (SELECT format('%s %s of role %s is connected', backend_type, pid, usename)
     FROM pg_stat_activity
     LEFT JOIN pg_roles ON pg_roles.oid = usesysid
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid <> ALL ($1)
       -- What a role may not see of others is NULL, and counts as the worst.
       AND coalesce(backend_type, 'client backend') NOT IN ('walsender', 'autovacuum worker',
           'parallel worker', 'logical replication apply worker',
           'logical replication parallel worker', 'logical replication worker',
           'logical replication tablesync worker')
       AND ($2 OR (coalesce(backend_start, '-infinity')
                       <= (SELECT coalesce(settled_at, 'infinity') FROM xtask_cutover.fence)
                   AND (NOT coalesce(rolsuper, true) OR xact_start IS NOT NULL
                        OR backend_start IS NULL)))
     LIMIT 1),
    (SELECT format('subscription %s of somebody else writes', subname)
     FROM pg_subscription AS s
     WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND subname NOT LIKE 'xtask\_%'
       AND (subenabled OR EXISTS (SELECT FROM pg_stat_subscription AS w
                                  WHERE w.subid = s.oid AND w.pid IS NOT NULL))
     LIMIT 1),
    (SELECT format('prepared transaction %s is open', gid)
     FROM pg_prepared_xacts WHERE database = current_database() LIMIT 1))
