-- The two roles of the sample, and their settings in this database. Run by an administrator on
-- every server that is to serve, before the schema comes: roles do not travel with a database.
--
-- Roles are cluster-wide, and several databases of one cluster may run this at once. A lock on the
-- shared catalog puts them in line; an advisory lock would not, it is local to a database.
LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;

DO $roles$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'trading_owner') THEN
        CREATE ROLE trading_owner NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'trading_app') THEN
        CREATE ROLE trading_app LOGIN;
    END IF;
END
$roles$;

-- Settings at each of the three levels: whoever moves a database has to notice all of them.
ALTER ROLE trading_app SET statement_timeout = '30s';
DO $settings$
BEGIN
    EXECUTE format(
        'ALTER DATABASE %I SET idle_in_transaction_session_timeout = %L',
        current_database(), '60s');
    EXECUTE format(
        'ALTER ROLE trading_app IN DATABASE %I SET lock_timeout = %L', current_database(), '20s');
    EXECUTE format(
        'GRANT CONNECT, TEMPORARY ON DATABASE %I TO trading_app', current_database());
END
$settings$;
