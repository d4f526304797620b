-- xtask: login-role
-- pg_search, for BM25. 0.25 is the floor: the access method `paradedb` and the schema `pdb` are
-- there from then on. Only a superuser may create it; where it is there, it is only looked at.
DO $$
DECLARE
    installed text;
    floor constant int[] := '{0,25}';
BEGIN
    IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_search') THEN
        RAISE EXCEPTION 'this server is not ParadeDB: it has no extension pg_search'
            USING HINT = 'Name ParadeDB''s server, or say that it is plain: --engine postgres.';
    END IF;
    CREATE EXTENSION IF NOT EXISTS pg_search;
    SELECT extversion INTO installed FROM pg_extension WHERE extname = 'pg_search';
    IF string_to_array(installed, '.')::int[] < floor THEN
        RAISE EXCEPTION 'the extension pg_search is %, and 0.25 is needed', installed
            USING HINT = 'Run ParadeDB 0.25 or later, then: ALTER EXTENSION pg_search UPDATE;';
    END IF;
END
$$;
