-- The BM25 index is there, valid, and whole by its own account.
DO $$
BEGIN
    ASSERT (SELECT indisvalid FROM pg_index
            WHERE indexrelid = 'idx_rag_knowledge_bm25'::regclass), 'the index is not valid';
    ASSERT (SELECT reloptions @> '{mutable_segment_rows=0,target_segment_count=1}' FROM pg_class
            WHERE oid = 'idx_rag_knowledge_bm25'::regclass),
        'searches would read the text of new rows, or open many segments';
    ASSERT (SELECT indpred IS NOT NULL FROM pg_index
            WHERE indexrelid = 'idx_rag_knowledge_bm25'::regclass), 'deleted chunks are in it';
    ASSERT NOT EXISTS (
        SELECT FROM pdb.verify_index('idx_rag_knowledge_bm25', heapallindexed := true)
        WHERE NOT passed AND check_name NOT LIKE '%: heap_references_valid'),
        'pg_search finds fault with it';
END
$$;
