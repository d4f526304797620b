-- A document is taken over once, written again only where it changed, cut, hidden, and may fail.
DO $$
DECLARE
    merged record;
BEGIN
    CREATE TEMPORARY TABLE postcondition (
        repo text, source_type text, source_id text, chunk_index integer, chunk_text text,
        chunk_embedding vector, metadata jsonb, source_updated_at timestamptz
    ) ON COMMIT DROP;
    INSERT INTO postcondition
    SELECT 'postcondition', 'adr', 'one', number, 'chunk ' || number, NULL, '{}', '2026-01-01'
    FROM generate_series(0, 2) AS number;
    ASSERT rag_fail_document('postcondition', 'adr', 'one', '{}', '') = 1, 'not the first';
    ASSERT rag_fail_document('postcondition', 'adr', 'one', '{}', '') = 2, 'not the second';
    SELECT * INTO merged FROM rag_merge('postcondition');
    ASSERT (merged.documents, merged.chunks_written, merged.chunks_removed) = (1, 3, 0),
        'three new chunks: ' || merged::text;
    ASSERT NOT EXISTS (SELECT FROM rag_dead_letters WHERE repo = 'postcondition'), 'not healed';
    SELECT * INTO merged FROM rag_merge('postcondition');
    ASSERT merged.chunks_written = 0, 'what is unchanged was written: ' || merged::text;
    DELETE FROM postcondition WHERE chunk_index = 2;
    SELECT * INTO merged FROM rag_merge('postcondition');
    ASSERT merged.chunks_removed = 1, 'the old end was left: ' || merged::text;
    ASSERT (SELECT chunks = 2 FROM rag_ingestion_lag WHERE repo = 'postcondition'),
        'the lag is off';
    ASSERT rag_delete_document('postcondition', 'adr', 'one') = 2, 'two chunks were to be hidden';
    DELETE FROM rag_knowledge_entries WHERE repo = 'postcondition';
    DELETE FROM rag_documents WHERE repo = 'postcondition';
    DROP TABLE postcondition;
END
$$;
