-- A schema with one of nearly everything that a dump may bend.
CREATE SCHEMA app;
CREATE SCHEMA "Strange Schema";
COMMENT ON SCHEMA app IS 'the application''s';
CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy');
ALTER TYPE app.mood ADD VALUE 'meh' BEFORE 'ok';
CREATE DOMAIN app.email AS text COLLATE "C" DEFAULT 'x@y' NOT NULL
    CONSTRAINT has_at CHECK (VALUE ~ '@') CONSTRAINT short CHECK (length(VALUE) < 100);
CREATE TYPE app.address AS (street text, number integer, moods app.mood[]);
CREATE TYPE app.float_range AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE SEQUENCE app.free_sequence AS integer INCREMENT -2
    MAXVALUE 100 MINVALUE -1000 START 50 CACHE 3 CYCLE;

CREATE TABLE app.customer (
    id bigint GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 5) PRIMARY KEY,
    gone integer,
    email app.email,
    name varchar(40) COLLATE "C" DEFAULT 'nobody' NOT NULL,
    balance numeric(12, 2) DEFAULT 0.00 CHECK (balance >= -100),
    mood app.mood DEFAULT 'ok',
    home app.address,
    tags text[] DEFAULT ARRAY['a', 'b']::text[],
    shout text GENERATED ALWAYS AS (upper(name) || '!') STORED,
    made timestamptz DEFAULT now() - interval '1 day',
    spans app.float_range,
    CONSTRAINT name_unique UNIQUE (name) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT no_overlap EXCLUDE USING gist (int8range(id, id, '[]') WITH &&)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE app.customer DROP COLUMN gone;
ALTER TABLE app.customer ALTER COLUMN name SET STATISTICS 500;
COMMENT ON COLUMN app.customer.name IS 'how to call them';
CREATE INDEX customer_lower ON app.customer
    (lower(name) DESC NULLS LAST, (balance * 2)) INCLUDE (mood)
    WHERE balance > 0 AND mood <> 'sad';
CREATE UNIQUE INDEX customer_email ON app.customer
    (email COLLATE "POSIX" text_pattern_ops) WITH (fillfactor = 60);
CREATE STATISTICS app.customer_statistics (dependencies, mcv) ON name, mood FROM app.customer;

CREATE TABLE "Strange Schema"."Order ""x""" (
    "Id" serial PRIMARY KEY,
    customer bigint REFERENCES app.customer (id) ON DELETE CASCADE DEFERRABLE,
    parent integer,
    payload jsonb NOT NULL DEFAULT '{"a": [1, 2]}',
    at timestamp(3) without time zone DEFAULT timezone('UTC', now()),
    "from" char(3),
    bits bit varying(5) DEFAULT B'101',
    CONSTRAINT "self ref" FOREIGN KEY (parent)
        REFERENCES "Strange Schema"."Order ""x""" ("Id") NOT VALID
);
ALTER TABLE "Strange Schema"."Order ""x""" REPLICA IDENTITY FULL;
ALTER TABLE "Strange Schema"."Order ""x""" ADD CONSTRAINT positive CHECK ("Id" > 0) NOT VALID;

CREATE TABLE app.event (
    tenant integer NOT NULL, at date NOT NULL, id bigint NOT NULL,
    customer bigint REFERENCES app.customer,
    body text, PRIMARY KEY (tenant, at, id)
) PARTITION BY LIST (tenant);
CREATE TABLE app.event_1 PARTITION OF app.event FOR VALUES IN (1, 2) PARTITION BY RANGE (at);
CREATE TABLE app.event_1_old PARTITION OF app.event_1 FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE app.event_1_new (
    body text, id bigint NOT NULL, tenant integer NOT NULL, customer bigint, at date NOT NULL);
ALTER TABLE app.event_1 ATTACH PARTITION app.event_1_new
    FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
CREATE TABLE app.event_other PARTITION OF app.event DEFAULT;
CREATE INDEX event_body ON app.event (body);
CREATE INDEX event_only ON ONLY app.event (id);
CREATE TABLE app.event_note (tenant integer, at date, id bigint, note text,
    FOREIGN KEY (tenant, at, id) REFERENCES app.event ON UPDATE CASCADE);

CREATE TABLE app.animal (id integer PRIMARY KEY, name text NOT NULL, CHECK (name <> ''));
CREATE TABLE app.dog (barks boolean DEFAULT true) INHERITS (app.animal);
ALTER TABLE app.dog ADD PRIMARY KEY (id);
CREATE TABLE app.log (line text);
CREATE UNLOGGED TABLE app.scratch (a integer);

CREATE FUNCTION app.touch() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = app, pg_temp
    AS $$BEGIN NEW.made := now(); RETURN NEW; END$$;
CREATE FUNCTION app.total(customer bigint, VARIADIC extra numeric[] DEFAULT '{}') RETURNS numeric
    LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 7
    BEGIN ATOMIC
        SELECT coalesce(sum(c.balance), 0) FROM app.customer c
        WHERE c.id = customer GROUP BY c.mood ORDER BY 1;
    END;
CREATE FUNCTION app.pairs(n integer) RETURNS TABLE (a integer, b text) LANGUAGE sql ROWS 5
    AS 'SELECT g, g::text FROM generate_series(1, n) g';
CREATE PROCEDURE app.work(INOUT n integer) LANGUAGE plpgsql AS $$BEGIN n := n + 1; COMMIT; END$$;
CREATE AGGREGATE app.product(numeric) (SFUNC = numeric_mul, STYPE = numeric, INITCOND = '1');
CREATE TRIGGER touch BEFORE UPDATE OF name, balance ON app.customer FOR EACH ROW
    WHEN (OLD.name IS DISTINCT FROM NEW.name OR NEW.balance > 5) EXECUTE FUNCTION app.touch();
CREATE TRIGGER touch_off BEFORE INSERT ON app.customer FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.customer DISABLE TRIGGER touch_off;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON app.log DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE TRIGGER seen AFTER UPDATE ON app.log REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION app.touch();
CREATE TRIGGER on_event BEFORE INSERT ON app.event FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.event_other DISABLE TRIGGER on_event;
CREATE RULE quiet AS ON DELETE TO app.log DO INSTEAD NOTHING;
CREATE RULE copy_line AS ON INSERT TO app.log WHERE NEW.line = 'x'
    DO ALSO INSERT INTO app.animal (id, name)
        SELECT a.id + 1, NEW.line FROM app.animal a WHERE a.name = NEW.line;
CREATE RULE change_line AS ON UPDATE TO app.log WHERE OLD.line <> NEW.line
    DO ALSO UPDATE app.animal SET name = OLD.line
        WHERE animal.name = NEW.line AND id IN (SELECT id FROM app.dog);

CREATE VIEW app.plain AS SELECT * FROM app.customer WHERE balance > 3;
CREATE VIEW app.grouped WITH (security_barrier) AS
    SELECT c.mood, count(*) AS n, sum(balance) FILTER (WHERE name ~ 'a'),
           extract(year FROM max(made)) AS year,
           row_number() OVER (PARTITION BY mood ORDER BY count(*) DESC)
      FROM app.customer c GROUP BY ROLLUP (c.mood), c.name HAVING count(*) > 1
     ORDER BY 2 DESC LIMIT 5;
CREATE VIEW app.joined AS
    SELECT c.id, o.payload ->> 'a' AS a, o."from", (c.home).street, x.value,
           o.at AT TIME ZONE 'CET' AS local
      FROM app.customer c LEFT JOIN "Strange Schema"."Order ""x""" o ON o.customer = c.id
      CROSS JOIN LATERAL jsonb_each_text(o.payload) AS x
     WHERE c.name LIKE 'a%' AND c.mood = ANY (ARRAY['ok', 'happy']::app.mood[]) AND NOT EXISTS
           (SELECT 1 FROM app.animal WHERE animal.id = c.id AND name IN ('x', c.name));
CREATE VIEW app.united AS SELECT id, name FROM app.animal
    UNION ALL SELECT 1 AS one, 'x' UNION (SELECT id, name FROM app.dog ORDER BY 1);
CREATE VIEW app.recursing AS
    WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r;
CREATE VIEW app.single (only_column) AS
    SELECT name::varchar(5) || substring(name FROM 2 FOR 3) || trim(both 'x' FROM name)
    || overlay(name PLACING 'yy' FROM 1)
    || coalesce(nullif(name, 'q'), CASE WHEN id > 3 THEN 'a' ELSE 'b' END)
    FROM app.animal WHERE (id, name) > (1, 'a');
CREATE VIEW app.checked AS SELECT id, name FROM app.animal WHERE id > 3 WITH CASCADED CHECK OPTION;
CREATE MATERIALIZED VIEW app.summary AS
    SELECT mood, count(*) AS n FROM app.customer GROUP BY 1 WITH NO DATA;
CREATE UNIQUE INDEX summary_mood ON app.summary (mood);
CREATE VIEW app.over_summary AS SELECT s.*, s IS NULL AS empty FROM app.summary s;

ALTER TABLE app.customer ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.customer FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON app.customer AS RESTRICTIVE FOR UPDATE TO PUBLIC
    USING (name = current_user AND id IN (SELECT customer FROM app.event e WHERE e.body = name))
    WITH CHECK (balance < 10);

DO $$BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hurtful_owner') THEN
        CREATE ROLE hurtful_owner NOLOGIN;
        CREATE ROLE hurtful_app LOGIN IN ROLE hurtful_owner;
        CREATE ROLE hurtful_reader NOINHERIT;
    END IF;
END$$;
ALTER TABLE app.customer OWNER TO hurtful_owner;
ALTER FUNCTION app.touch() OWNER TO hurtful_owner;
ALTER TYPE app.mood OWNER TO hurtful_owner;
GRANT USAGE ON SCHEMA app TO hurtful_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA app TO hurtful_reader;
GRANT UPDATE (name), REFERENCES (id) ON app.customer TO hurtful_reader WITH GRANT OPTION;
GRANT ALL ON app.log TO hurtful_app;
REVOKE EXECUTE ON FUNCTION app.touch() FROM PUBLIC;
GRANT USAGE ON SEQUENCE app.free_sequence TO hurtful_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO hurtful_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE hurtful_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER ROLE hurtful_app SET statement_timeout = '11s';
SELECT setval('app.free_sequence', 42, false), setval('app.customer_id_seq', 110);
