-- What the login may not do, and what a run would lose by it.
WITH me AS (SELECT * FROM pg_roles WHERE rolname = current_user),
     here AS (SELECT * FROM pg_database WHERE datname = current_database())
SELECT privilege, lost
FROM me, here, LATERAL (VALUES
    (1, 'REPLICATION', me.rolreplication,
     'no slot can be made: nothing follows'),
    (2, 'CREATEROLE', me.rolcreaterole,
     'the subscription gets no role of its own'),
    (3, 'pg_create_subscription',
     EXISTS (SELECT FROM pg_roles AS r
             WHERE r.rolname = 'pg_create_subscription' AND pg_has_role(r.oid, 'USAGE')),
     'nothing can follow here: on the source the way back, on the target the way there'),
    (4, 'CREATE on the database',
     has_database_privilege(here.oid, 'CREATE'),
     'no publication, and no state of the run'),
    (5, 'ownership of the database', pg_has_role(here.datdba, 'USAGE'),
     'no fence: only the owner may close a database'),
    (6, 'pg_signal_backend', pg_has_role('pg_signal_backend', 'USAGE'),
     'sessions of clients cannot be ended: the fence would wait for them'),
    (7, 'pg_read_all_stats', pg_has_role('pg_read_all_stats', 'USAGE'),
     'who is connected cannot be seen: no fence could be proved'),
    (8, 'BYPASSRLS', me.rolbypassrls,
     'rows behind row security are neither copied nor compared'),
    (9, 'ownership of all tables',
     NOT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                 WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\_%'
                   AND n.nspname <> 'information_schema'
                   AND NOT pg_has_role(c.relowner, 'USAGE')),
     'tables of others can be neither published nor guarded by triggers'),
    (10, 'SET on log_statement', has_parameter_privilege('log_statement', 'SET'),
     'the subscription''s password may come into the log of the server')
) AS rights (number, privilege, has, lost)
WHERE NOT me.rolsuper AND NOT has
ORDER BY number
