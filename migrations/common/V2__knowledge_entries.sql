-- The knowledge store: one row is one chunk of a document. Columns, types and defaults are those of
-- the specification; what is added or mended says why where it stands.

-- A generated column needs an immutable expression, and a subquery is none: hence a function.
CREATE FUNCTION rag_labels(metadata jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY(
    SELECT jsonb_array_elements_text(
        CASE WHEN jsonb_typeof(metadata -> 'labels') = 'array' THEN metadata -> 'labels'
             ELSE '[]'::jsonb END)
);

CREATE TABLE rag_knowledge_entries (
    id                BIGSERIAL PRIMARY KEY,
    source_type       VARCHAR(50) NOT NULL,
    source_id         VARCHAR(255) NOT NULL,
    repo              VARCHAR(255) NOT NULL,
    chunk_text        TEXT NOT NULL,
    chunk_index       INTEGER NOT NULL,
    chunk_hash        VARCHAR(64),
    -- The one place that names the number of dimensions; everything else reads it from the catalog.
    chunk_embedding   VECTOR(768),
    metadata          JSONB NOT NULL DEFAULT '{}',
    indexed_at        TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at        TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    deleted           BOOLEAN NOT NULL DEFAULT FALSE,
    -- Added: what callers filter by lies inside `metadata` in the specification, where neither BM25
    -- nor a B-tree can use it.
    author            TEXT GENERATED ALWAYS AS (metadata ->> 'author') STORED,
    labels            TEXT[] GENERATED ALWAYS AS (rag_labels(metadata)) STORED,
    -- Added: when the source itself changed (merged, closed, pushed). `indexed_at` cannot say it,
    -- and the lag of ingestion is the difference of the two.
    source_updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    -- Mended: `repo` is in the key. A document's `source_id` is a bare path, which two repositories
    -- may share.
    CONSTRAINT unique_source_chunk UNIQUE (repo, source_type, source_id, chunk_index),
    -- Added: a negative position or half a hash is a defect of the writer.
    CONSTRAINT rag_knowledge_entries_chunk_index_check CHECK (chunk_index >= 0),
    CONSTRAINT rag_knowledge_entries_chunk_hash_check CHECK (chunk_hash ~ '^[0-9a-f]{64}$')
);

CREATE INDEX idx_rag_knowledge_metadata
    ON rag_knowledge_entries USING gin (metadata jsonb_path_ops);
CREATE INDEX idx_rag_knowledge_repo_active
    ON rag_knowledge_entries (repo, deleted, indexed_at DESC);
-- The specification's index on (source_type, source_id): `unique_source_chunk` begins with `repo`,
-- so it is no substitute.
CREATE INDEX idx_rag_knowledge_source
    ON rag_knowledge_entries (source_type, source_id);
-- Added: labels, author and date select rows in the vector branch, where no BM25 index helps.
CREATE INDEX idx_rag_knowledge_author
    ON rag_knowledge_entries (author);
CREATE INDEX idx_rag_knowledge_labels
    ON rag_knowledge_entries USING gin (labels);
CREATE INDEX idx_rag_knowledge_source_updated
    ON rag_knowledge_entries (source_updated_at);
