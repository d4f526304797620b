-- Terms are stored beside each chunk and indexed.
DO $$
BEGIN
    ASSERT (SELECT attgenerated = 's' FROM pg_attribute
            WHERE attrelid = 'rag_knowledge_entries'::regclass AND attname = 'chunk_terms'),
        'the terms are not stored';
    ASSERT (SELECT indisvalid FROM pg_index
            WHERE indexrelid = 'idx_rag_knowledge_terms'::regclass), 'the index is not valid';
END
$$;
