-- The sessions that are starting on this database. A backend locks its database before it reads the
-- database's settings, and keeps the lock until it stands in pg_stat_activity (InitPostgres in
-- postinit.c): whoever started before the fence was closed is in one of the two views.
SELECT pid
FROM pg_locks
WHERE locktype = 'object' AND classid = 'pg_database'::regclass
  AND objid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND mode = 'RowExclusiveLock' AND granted AND pid <> pg_backend_pid()
