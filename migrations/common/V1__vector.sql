-- xtask: login-role
-- pgvector, for the column `chunk_embedding`. 0.8.4 is the floor: iterative index scans, which let
-- a selective filter still find k rows, came with 0.8.0 and were mended up to there.
--
-- The "pgembedding" of the specification (extension `embedding`) is abandoned upstream, and its
-- access method `hnsw` has the name of pgvector's. It is refused where it is installed, with the
-- way out, because the two cannot serve one database.
DO $$
DECLARE
    installed text;
    floor constant int[] := '{0,8,4}';
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'embedding') THEN
        RAISE EXCEPTION 'the extension embedding (pg_embedding) is installed; it is abandoned and '
            'clashes with pgvector'
            USING HINT = 'Keep its vectors as real[], then DROP EXTENSION embedding CASCADE; '
                'after the migrations load them with chunk_embedding = column::vector.';
    END IF;
    -- Into the last schema of the path, where extensions live: a schema of search that is dropped
    -- one day must not take the extension with it.
    EXECUTE format('CREATE EXTENSION IF NOT EXISTS vector SCHEMA %I',
                   (current_schemas(false))[cardinality(current_schemas(false))]);
    SELECT extversion INTO installed FROM pg_extension WHERE extname = 'vector';
    IF string_to_array(installed, '.')::int[] < floor THEN
        RAISE EXCEPTION 'the extension vector is %, and 0.8.4 is needed', installed
            USING HINT = 'Install a newer pgvector, then run: ALTER EXTENSION vector UPDATE;';
    END IF;
END
$$;
