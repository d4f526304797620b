-- Ends the sessions that a fence must not leave behind. $1: our own backends. $2: whether we are a
-- superuser. The owner of a database ends those that began before the fence; those of superusers
-- it cannot end.
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
LEFT JOIN pg_roles ON pg_roles.oid = usesysid
WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid <> ALL ($1)
  AND coalesce(backend_type, 'client backend') NOT IN ('walsender', 'autovacuum worker',
      'parallel worker', 'logical replication apply worker',
      'logical replication parallel worker', 'logical replication worker',
      'logical replication tablesync worker')
  AND ($2 OR (NOT coalesce(rolsuper, true)
              AND coalesce(backend_start, '-infinity')
                  <= (SELECT coalesce(settled_at, 'infinity') FROM xtask_cutover.fence)))
