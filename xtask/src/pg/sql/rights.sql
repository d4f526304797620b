-- What the role of this session may do: name, whether it has it, the statement that gives it.
-- PostgreSQL 16 or later. `log_parameter_max_length` counts as held where the server's log shows no
-- parameters anyway: passwords travel as such.
WITH me AS (
    SELECT rolname, rolreplication, rolcreaterole, rolbypassrls
    FROM pg_roles WHERE rolname = current_user
), member AS (
    SELECT wanted, pg_has_role(wanted, 'USAGE') AS held
    FROM (VALUES ('pg_create_subscription'), ('pg_signal_backend'), ('pg_read_all_stats'))
         AS roles (wanted)
)
SELECT name, held, statement
FROM (
    SELECT 1, 'replication', rolreplication, format('ALTER ROLE %I REPLICATION', rolname) FROM me
    UNION ALL
    SELECT 2, 'create role', rolcreaterole, format('ALTER ROLE %I CREATEROLE', rolname) FROM me
    UNION ALL
    SELECT 3, wanted, held, format('GRANT %I TO %I', wanted, rolname) FROM me, member
    UNION ALL
    SELECT 4, 'bypass row security',
           rolbypassrls OR NOT EXISTS (SELECT FROM pg_class WHERE relforcerowsecurity),
           format('ALTER ROLE %I BYPASSRLS', rolname) FROM me
    UNION ALL
    SELECT 5, 'silence the log',
           has_parameter_privilege('log_parameter_max_length', 'SET')
           OR current_setting('log_parameter_max_length') = '0'
           OR (current_setting('log_statement') <> 'all'
               AND current_setting('log_min_duration_statement') = '-1'
               AND (current_setting('log_min_duration_sample') = '-1'
                    OR current_setting('log_statement_sample_rate')::float8 = 0)
               AND current_setting('log_transaction_sample_rate')::float8 = 0),
           format('GRANT SET ON PARAMETER log_parameter_max_length TO %I', rolname) FROM me
    UNION ALL
    SELECT 6, 'advance origins',
           has_function_privilege(
               'pg_catalog.pg_replication_origin_advance(text, pg_lsn)', 'EXECUTE')
           AND has_function_privilege(
               'pg_catalog.pg_show_replication_origin_status()', 'EXECUTE')
           AND has_table_privilege('pg_catalog.pg_replication_origin_status', 'SELECT'),
           format('GRANT EXECUTE ON FUNCTION pg_replication_origin_advance(text, pg_lsn), '
                  'pg_show_replication_origin_status() TO %1$I; '
                  'GRANT SELECT ON pg_replication_origin_status TO %1$I', rolname) FROM me
) AS asked (rank, name, held, statement)
ORDER BY rank, name
