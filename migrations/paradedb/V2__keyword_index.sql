-- xtask: no-transaction
-- BM25. The specification's `bm25 (chunk_text) WITH (key_field = 'id')` is refused by pg_search:
-- the key field must be the first column. What callers filter by is inside, so that a filter is
-- answered by the index and the best k need no second look at the table. Deleted chunks are not in
-- it: to ask for `deleted` beside the words reads every match instead of the best ones, and took
-- four times as long (one search of 100,000 chunks, 28 ms in place of 7 ms).
-- By default pg_search keeps up to 1,000 new rows as they are, and each search reads their text
-- anew: 300 chunks of 2,000 characters cost 300 ms a search. Without such a segment they cost
-- 17 ms, and an insert 3 ms.
-- One segment, because one process answers a search (rag_search uses no parallel workers) and opens
-- them all: with several, the default, the best 40 of 100,000 chunks took 4.1 ms, with one 2.0 ms.
-- Building it takes one process twice as long, 38 s.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_rag_knowledge_bm25
    ON rag_knowledge_entries USING paradedb (
        id,
        (chunk_text::pdb.simple('stemmer=english')),
        (repo::pdb.literal),
        (source_type::pdb.literal),
        (author::pdb.literal),
        (labels::pdb.literal),
        source_updated_at
    ) WITH (key_field = 'id', mutable_segment_rows = 0, target_segment_count = 1)
    WHERE deleted = false;
