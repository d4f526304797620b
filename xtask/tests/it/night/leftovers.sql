-- What a run has left in this database; $1: a pattern for the names of its roles.
SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
UNION ALL
SELECT 'publication ' || pubname FROM pg_publication
UNION ALL
SELECT 'subscription ' || subname FROM pg_subscription
WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL
SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE $1
UNION ALL
SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = 'xtask_cutover'
UNION ALL
SELECT 'trigger on ' || tgrelid::regclass FROM pg_trigger WHERE tgname = 'xtask_fence'
UNION ALL
SELECT 'a connection limit' FROM pg_database
WHERE datname = current_database() AND datconnlimit <> -1
UNION ALL
SELECT 'setting ' || setting FROM pg_db_role_setting, unnest(setconfig) AS setting
WHERE setrole = 0 AND setting LIKE 'default_transaction_read_only=%'
  AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
