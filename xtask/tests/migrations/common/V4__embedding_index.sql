-- The HNSW index is there, valid, and by cosine.
DO $$
BEGIN
    ASSERT (SELECT indisvalid AND pg_get_indexdef(indexrelid) LIKE '%hnsw%vector_cosine_ops%'
            FROM pg_index WHERE indexrelid = 'idx_rag_knowledge_embedding'::regclass),
        'the HNSW index is not valid, or of another kind';
    ASSERT 'ef_construction=200' = ANY (
        (SELECT reloptions FROM pg_class
         WHERE oid = 'idx_rag_knowledge_embedding'::regclass)::text[]),
        'some chunks would be out of reach';
END
$$;
