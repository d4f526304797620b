-- The table takes what the specification describes, refuses what it forbids, and derives the rest.
DO $$
BEGIN
    ASSERT (SELECT format_type(atttypid, atttypmod) LIKE '%vector(768)' FROM pg_attribute
            WHERE attrelid = 'rag_knowledge_entries'::regclass AND attname = 'chunk_embedding'),
        'the embedding has not 768 dimensions';
    ASSERT (SELECT array_agg(attname::text ORDER BY attnum) @> '{id,source_type,source_id,repo,
                chunk_text,chunk_index,chunk_hash,chunk_embedding,metadata,indexed_at,updated_at,
                deleted}' FROM pg_attribute WHERE attrelid = 'rag_knowledge_entries'::regclass),
        'a column of the specification is missing';
    ASSERT (SELECT count(*) = 5 FROM pg_index
            JOIN pg_class ON pg_class.oid = indexrelid
            WHERE indrelid = 'rag_knowledge_entries'::regclass AND indisvalid
              AND relname IN ('idx_rag_knowledge_metadata', 'idx_rag_knowledge_repo_active',
                              'idx_rag_knowledge_source', 'idx_rag_knowledge_labels',
                              'idx_rag_knowledge_source_updated')), 'an index is missing';
    ASSERT rag_labels('{"labels": ["a", "b"]}') = '{a,b}', 'labels are not read';
    ASSERT rag_labels('{"labels": "a"}') = '{}', 'labels that are no list are read as one';

    INSERT INTO rag_knowledge_entries
        (source_type, source_id, repo, chunk_text, chunk_index, metadata)
    VALUES ('adr', 'postcondition', 'one', 'text', 0, '{"author": "me", "labels": ["x"]}'),
           ('adr', 'postcondition', 'two', 'text', 0, '{}');
    ASSERT (SELECT author = 'me' AND labels = '{x}' AND NOT deleted FROM rag_knowledge_entries
            WHERE source_id = 'postcondition' AND repo = 'one'), 'author or labels are not derived';
    BEGIN
        INSERT INTO rag_knowledge_entries (source_type, source_id, repo, chunk_text, chunk_index)
        VALUES ('adr', 'postcondition', 'one', 'text', -1);
        ASSERT false, 'a negative position is taken';
    EXCEPTION WHEN check_violation THEN NULL;
    END;
    DELETE FROM rag_knowledge_entries WHERE source_id = 'postcondition';
END
$$;
