-- What the ingestion decision needs to be safe: every document once, its lag, and what failed.

-- One row a document: how many chunks it has now, and of which content.
CREATE TABLE rag_documents (
    repo              VARCHAR(255) NOT NULL,
    source_type       VARCHAR(50) NOT NULL,
    source_id         VARCHAR(255) NOT NULL,
    content_hash      VARCHAR(64) NOT NULL CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    chunk_count       INTEGER NOT NULL CHECK (chunk_count >= 0),
    source_updated_at TIMESTAMPTZ NOT NULL,
    indexed_at        TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    PRIMARY KEY (repo, source_type, source_id)
);

-- Documents that could not be ingested, with how often it was tried. An ingestion that succeeds
-- takes its row away.
CREATE TABLE rag_dead_letters (
    repo            VARCHAR(255) NOT NULL,
    source_type     VARCHAR(50) NOT NULL,
    source_id       VARCHAR(255) NOT NULL,
    payload         JSONB NOT NULL,
    error           TEXT NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 1 CHECK (attempts > 0),
    first_failed_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    last_failed_at  TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    PRIMARY KEY (repo, source_type, source_id)
);

-- How far the index is behind its sources, by repository and type: the figures of the ingestion
-- decision (fresh within an hour, an alert after two).
CREATE VIEW rag_ingestion_lag AS
SELECT repo, source_type,
       count(*) AS documents,
       sum(chunk_count) AS chunks,
       max(indexed_at) AS last_indexed_at,
       now() - max(indexed_at) AS since_last,
       max(indexed_at - source_updated_at) AS longest_lag,
       (SELECT count(*) FROM rag_dead_letters AS letter
        WHERE letter.repo = document.repo AND letter.source_type = document.source_type)
           AS dead_letters
FROM rag_documents AS document
GROUP BY repo, source_type;

-- Two loaders of the same document must not interleave. A lock stands for many documents, so that a
-- load of any size takes at most 1024 and the server's lock table holds them; all are taken in one
-- order. They end with the transaction.
CREATE FUNCTION rag_lock_documents(staging regclass) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    EXECUTE format(
        'SELECT pg_advisory_xact_lock(%s, number) FROM (
             SELECT DISTINCT (hashtextextended(
                        concat_ws(chr(31), repo, source_type, source_id), 0) & 1023)::integer
                        AS number
             FROM %s ORDER BY number) AS numbers',
        'rag_documents'::regclass::oid::integer, staging);
END
$$;

-- Takes whole documents over from a staging table with the columns repo, source_type, source_id,
-- chunk_index, chunk_text, chunk_embedding, metadata and source_updated_at. Idempotent: unchanged
-- chunks are not written, so that a second run makes no index work. A chunk whose text changed
-- without a new embedding loses the old one, which would lie. Chunks behind the new end of a
-- document are removed: the specification's upsert leaves them to be found for ever.
CREATE FUNCTION rag_merge(staging regclass)
RETURNS TABLE (documents bigint, chunks_written bigint, chunks_removed bigint)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM rag_lock_documents(staging);

    EXECUTE format(
        'WITH put AS (
             INSERT INTO rag_knowledge_entries AS entry
                 (repo, source_type, source_id, chunk_index, chunk_text, chunk_hash,
                  chunk_embedding, metadata, source_updated_at)
             SELECT repo, source_type, source_id, chunk_index, chunk_text,
                    encode(sha256(convert_to(chunk_text, ''UTF8'')), ''hex''),
                    chunk_embedding, metadata, source_updated_at
             FROM %s
             ORDER BY repo, source_type, source_id, chunk_index
             ON CONFLICT ON CONSTRAINT unique_source_chunk DO UPDATE SET
                 chunk_text = excluded.chunk_text,
                 chunk_hash = excluded.chunk_hash,
                 chunk_embedding = CASE
                     WHEN excluded.chunk_embedding IS NOT NULL THEN excluded.chunk_embedding
                     WHEN entry.chunk_hash = excluded.chunk_hash THEN entry.chunk_embedding
                 END,
                 metadata = excluded.metadata,
                 source_updated_at = excluded.source_updated_at,
                 updated_at = now(), indexed_at = now(), deleted = false
             WHERE entry.deleted
                OR entry.chunk_hash IS DISTINCT FROM excluded.chunk_hash
                OR entry.metadata <> excluded.metadata
                OR entry.source_updated_at <> excluded.source_updated_at
                OR (excluded.chunk_embedding IS NOT NULL
                    AND entry.chunk_embedding IS DISTINCT FROM excluded.chunk_embedding)
             RETURNING 1)
         SELECT count(*) FROM put', staging)
    INTO chunks_written;

    EXECUTE format(
        'WITH present AS (
             SELECT repo, source_type, source_id, max(chunk_index) AS last FROM %s
             GROUP BY repo, source_type, source_id),
         gone AS (
             DELETE FROM rag_knowledge_entries AS entry USING present
             WHERE (entry.repo, entry.source_type, entry.source_id)
                   = (present.repo, present.source_type, present.source_id)
               AND entry.chunk_index > present.last
             RETURNING 1)
         SELECT count(*) FROM gone', staging)
    INTO chunks_removed;

    EXECUTE format(
        'WITH document AS (
             INSERT INTO rag_documents AS known
                 (repo, source_type, source_id, content_hash, chunk_count, source_updated_at)
             SELECT repo, source_type, source_id,
                    encode(sha256(convert_to(
                        string_agg(chunk_text, chr(31) ORDER BY chunk_index), ''UTF8'')), ''hex''),
                    count(*), max(source_updated_at)
             FROM %s GROUP BY repo, source_type, source_id
             ON CONFLICT (repo, source_type, source_id) DO UPDATE SET
                 content_hash = excluded.content_hash, chunk_count = excluded.chunk_count,
                 source_updated_at = excluded.source_updated_at, indexed_at = now()
             RETURNING repo, source_type, source_id),
         healed AS (
             DELETE FROM rag_dead_letters AS letter USING document
             WHERE (letter.repo, letter.source_type, letter.source_id)
                   = (document.repo, document.source_type, document.source_id))
         SELECT count(*) FROM document', staging)
    INTO documents;
    RETURN NEXT;
END
$$;

-- Hides a document that was deleted at its source. Its rows stay, so that it can be undone.
CREATE FUNCTION rag_delete_document(repo text, source_type text, source_id text) RETURNS bigint
LANGUAGE sql
SET search_path FROM CURRENT
AS $$
    WITH hidden AS (
        UPDATE rag_knowledge_entries AS entry SET deleted = true, updated_at = now()
        WHERE entry.repo = rag_delete_document.repo
          AND entry.source_type = rag_delete_document.source_type
          AND entry.source_id = rag_delete_document.source_id AND NOT entry.deleted
        RETURNING 1)
    SELECT count(*) FROM hidden
$$;

-- Remembers a document that could not be ingested.
CREATE FUNCTION rag_fail_document(
    repo text, source_type text, source_id text, payload jsonb, error text
) RETURNS integer
LANGUAGE sql
SET search_path FROM CURRENT
AS $$
    INSERT INTO rag_dead_letters AS letter (repo, source_type, source_id, payload, error)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT ON CONSTRAINT rag_dead_letters_pkey DO UPDATE SET
        payload = excluded.payload, error = excluded.error, attempts = letter.attempts + 1,
        last_failed_at = now()
    RETURNING attempts
$$;
