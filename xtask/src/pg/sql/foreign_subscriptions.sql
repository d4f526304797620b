-- The subscriptions of others that may write into this database: enabled, or still at work.
SELECT subname::text
FROM pg_subscription AS s
WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND subname NOT LIKE 'xtask\_%'
  AND (subenabled OR EXISTS (SELECT FROM pg_stat_subscription AS w
                             WHERE w.subid = s.oid AND w.pid IS NOT NULL))
ORDER BY subname
