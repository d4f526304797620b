-- xtask: allow adding-field-with-default, because the table is empty when its first engine comes
-- xtask: allow require-concurrent-index-creation, because the column locks the table anyway
-- The built-in full-text search in place of BM25. The terms are stored, because ranking reads those
-- of every match, and computing them anew costs a hundred times as much.
ALTER TABLE rag_knowledge_entries
    ADD COLUMN chunk_terms TSVECTOR GENERATED ALWAYS AS (to_tsvector('english', chunk_text)) STORED;
CREATE INDEX idx_rag_knowledge_terms ON rag_knowledge_entries USING gin (chunk_terms);
