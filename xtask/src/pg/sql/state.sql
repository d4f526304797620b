-- What the tool keeps on each server, in a schema of its own. Idempotent.
CREATE SCHEMA IF NOT EXISTS xtask_cutover;

-- One row a run, on the side that serves when the run begins. `decision` says who serves.
CREATE TABLE IF NOT EXISTS xtask_cutover.run (
    id text PRIMARY KEY,
    root text NOT NULL,
    parent text,
    direction text NOT NULL,
    epoch bigint NOT NULL DEFAULT 1,
    operator text NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    decision text CHECK (decision IN ('switch', 'unwind')),
    decided_by text,
    decided_at timestamptz,
    -- Counts the attempts to switch: who watched over an earlier one has nothing more to say.
    attempt bigint NOT NULL DEFAULT 0,
    -- The dead-man acts only while an attempt is guarded and its heartbeat has stopped.
    guarded boolean NOT NULL DEFAULT false,
    heartbeat timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz
);

-- A copy of the journal file, for another machine.
CREATE TABLE IF NOT EXISTS xtask_cutover.journal (
    run text NOT NULL,
    number bigint NOT NULL,
    line text NOT NULL,
    PRIMARY KEY (run, number)
);

-- Barrier rows, published with the tables. One table a batch: two subscriptions that share one
-- would collide on its key.
CREATE TABLE IF NOT EXISTS xtask_cutover.marker_1 (
    id bigint PRIMARY KEY,
    kind text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS xtask_cutover.marker_2 (LIKE xtask_cutover.marker_1 INCLUDING ALL);
CREATE TABLE IF NOT EXISTS xtask_cutover.marker_3 (LIKE xtask_cutover.marker_1 INCLUDING ALL);

-- Progress of the copy, on the target, written in the transaction that brings the rows.
CREATE TABLE IF NOT EXISTS xtask_cutover.chunk (
    batch integer NOT NULL,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    number integer NOT NULL,
    first_page bigint NOT NULL,
    -- NULL: to the end of the table, however far it has grown.
    end_page bigint,
    estimated_bytes bigint NOT NULL,
    rows_copied bigint,
    bytes_copied bigint,
    PRIMARY KEY (batch, schema_name, table_name, number)
);

-- Changes of schema that a run brought here, each written in the transaction that brought it. The
-- side that serves also has the barrier row that went with it.
CREATE TABLE IF NOT EXISTS xtask_cutover.change (
    digest text PRIMARY KEY,
    file text NOT NULL,
    new_schemas text[] NOT NULL,
    new_tables text[] NOT NULL,
    barrier bigint NOT NULL,
    complete boolean NOT NULL DEFAULT false,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Whether this database is fenced, and the settings that the fence replaced.
CREATE TABLE IF NOT EXISTS xtask_cutover.fence (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    closed boolean NOT NULL DEFAULT false,
    former_connection_limit integer NOT NULL DEFAULT -1,
    former_read_only text,
    -- A follower that answers searches: its settings are open, and the copied tables take no
    -- writes. It outlives a fence that an attempt to switch has closed, until that is decided.
    searchable boolean NOT NULL DEFAULT false
);
INSERT INTO xtask_cutover.fence DEFAULT VALUES ON CONFLICT DO NOTHING;

-- The settings half of the fence. Takes effect for new sessions; the caller ends the old ones. Of a
-- run it closes only while nothing is decided and nobody else has taken the run over, in one
-- transaction with that look: a tool that was frozen before it must not fence a source that the
-- dead-man has given back to its clients.
CREATE OR REPLACE PROCEDURE xtask_cutover.close_fence(
    for_run text DEFAULT NULL, own_epoch bigint DEFAULT NULL
)
LANGUAGE plpgsql AS $procedure$
BEGIN
    IF for_run IS NOT NULL THEN
        PERFORM FROM xtask_cutover.run
        WHERE id = for_run AND epoch = own_epoch AND decision IS NULL FOR UPDATE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the attempt was unwound or taken over before its fence';
        END IF;
    END IF;
    UPDATE xtask_cutover.fence
    SET closed = true,
        former_connection_limit = database.datconnlimit,
        former_read_only = (
            SELECT split_part(setting, '=', 2)
            FROM pg_catalog.pg_db_role_setting, unnest(setconfig) AS setting
            WHERE setdatabase = database.oid AND setrole = 0
              AND setting LIKE 'default\_transaction\_read\_only=%')
    FROM pg_catalog.pg_database AS database
    WHERE database.datname = pg_catalog.current_database() AND NOT fence.closed;
    EXECUTE pg_catalog.format('ALTER DATABASE %I SET default_transaction_read_only = on',
                              pg_catalog.current_database());
    EXECUTE pg_catalog.format('ALTER DATABASE %I CONNECTION LIMIT 0',
                              pg_catalog.current_database());
END
$procedure$;

-- Gives the database the settings back that it had before the fence. For a run whose target this
-- side is, it opens only while no later run has begun here: a tool that was frozen after its
-- decision must not open a side that a rollback has fenced since.
CREATE OR REPLACE PROCEDURE xtask_cutover.open_fence(for_run text DEFAULT NULL)
LANGUAGE plpgsql AS $procedure$
DECLARE
    former xtask_cutover.fence;
BEGIN
    IF EXISTS (SELECT FROM xtask_cutover.run WHERE parent = for_run) THEN
        RAISE EXCEPTION 'a later run has begun on this side';
    END IF;
    SELECT * INTO former FROM xtask_cutover.fence WHERE closed FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF former.former_read_only IS NULL THEN
        EXECUTE pg_catalog.format('ALTER DATABASE %I RESET default_transaction_read_only',
                                  pg_catalog.current_database());
    ELSE
        EXECUTE pg_catalog.format('ALTER DATABASE %I SET default_transaction_read_only = %L',
                                  pg_catalog.current_database(), former.former_read_only);
    END IF;
    EXECUTE pg_catalog.format('ALTER DATABASE %I CONNECTION LIMIT %s',
                              pg_catalog.current_database(), former.former_connection_limit);
    UPDATE xtask_cutover.fence SET closed = false, searchable = false;
END
$procedure$;

-- Opens a follower for search: the settings in force before the fence, while triggers keep every
-- copied table from being written. Both in one transaction.
CREATE OR REPLACE PROCEDURE xtask_cutover.open_for_search()
LANGUAGE plpgsql AS $procedure$
BEGIN
    CALL xtask_cutover.open_fence();
    UPDATE xtask_cutover.fence SET searchable = true;
END
$procedure$;

-- Stops what the settings cannot: a superuser, or a session that turns read-only off. It sits on
-- the tables before the pause and looks at the flag, because making triggers takes strong locks.
-- Rows that a subscription applies pass: origin triggers do not fire for them.
CREATE OR REPLACE FUNCTION xtask_cutover.refuse_write() RETURNS trigger
LANGUAGE plpgsql AS $function$
BEGIN
    IF (SELECT closed OR searchable FROM xtask_cutover.fence) THEN
        RAISE EXCEPTION 'this table is fenced: the service writes on another server'
            USING ERRCODE = 'read_only_sql_transaction',
                  HINT = 'reconnect through the service''s own address';
    END IF;
    RETURN NULL;
END
$function$;

-- Un-fences the source when the tool has died or frozen. It runs in a backend of its own, commits
-- in its loop, and so outlives the tool and its machine. `CALL` it outside a transaction.
-- It guards the attempt, whoever owns the run: a process that takes a fenced run over may die as
-- well before it has cleared the attempt away.
CREATE OR REPLACE PROCEDURE xtask_cutover.dead_man(wanted_run text, patience interval)
LANGUAGE plpgsql AS $procedure$
DECLARE
    present xtask_cutover.run;
    known boolean;
BEGIN
    LOOP
        SELECT * INTO present FROM xtask_cutover.run WHERE id = wanted_run;
        known := FOUND;
        COMMIT;
        IF NOT known OR NOT present.guarded OR present.decision IS NOT NULL THEN
            RETURN;
        END IF;
        IF pg_catalog.clock_timestamp() - present.heartbeat > patience THEN
            BEGIN
                UPDATE xtask_cutover.run
                SET decision = 'unwind', decided_by = 'dead-man',
                    decided_at = pg_catalog.clock_timestamp()
                WHERE id = wanted_run AND heartbeat = present.heartbeat AND decision IS NULL;
                IF FOUND THEN
                    CALL xtask_cutover.open_fence();
                END IF;
            EXCEPTION WHEN OTHERS THEN
                -- Somebody changed the same catalog row: the next round tries again.
                RAISE LOG 'xtask dead-man: %', SQLERRM;
            END;
            COMMIT;
        END IF;
        PERFORM pg_catalog.pg_sleep(0.1);
    END LOOP;
END
$procedure$;
