-- Drops every subscription of this database without asking the server that it follows.
DO $drop$
DECLARE
    subscription record;
BEGIN
    FOR subscription IN
        SELECT subname FROM pg_catalog.pg_subscription
        WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database
                         WHERE datname = pg_catalog.current_database())
    LOOP
        EXECUTE pg_catalog.format('ALTER SUBSCRIPTION %I DISABLE', subscription.subname);
        EXECUTE pg_catalog.format(
            'ALTER SUBSCRIPTION %I SET (slot_name = NONE)', subscription.subname);
        EXECUTE pg_catalog.format('DROP SUBSCRIPTION %I', subscription.subname);
    END LOOP;
END
$drop$;
