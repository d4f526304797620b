-- The search itself, the same on both engines. What differs is the statement that answers it: each
-- engine brings its own `rag_search_statement`, and until then a search says that it is missing.
-- The embedding is its parameter $1, if it likes: a plan is made for the value all the same.

-- The best k chunks for a query, an embedding, or both. `filter` knows repo, source_type, labels,
-- author, since and until. Ranks say how each branch placed a chunk, from 1; NULL where it did not.
CREATE FUNCTION rag_search(
    query text, embedding vector DEFAULT NULL, k integer DEFAULT 10, filter jsonb DEFAULT '{}'
)
RETURNS TABLE (
    id bigint, score double precision, keyword_rank integer, vector_rank integer, repo text,
    source_type text, source_id text, chunk_index integer, snippet text
)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
-- A selective filter goes on scanning until it has enough; ordered, so that ranks mean something.
SET hnsw.iterative_scan = strict_order
SET hnsw.ef_search = 100
SET hnsw.max_scan_tuples = 1000000
SET hnsw.scan_mem_multiplier = 4
-- A distance reads 3 kB from TOAST, which a planner does not count. With the usual 0.0025 it
-- computes all distances of a store of thousands; with 0.25 it scans HNSW for filters of which few
-- chunks are left. Between them each is used where it is faster (4,096 and 20,000 chunks, both
-- measured).
SET cpu_operator_cost = 0.05
-- A text without words is no reason to tell the application's log.
SET client_min_messages = warning
-- Compiling, and starting another process, cost more than such a statement takes.
SET jit = off
SET max_parallel_workers_per_gather = 0
AS $$
BEGIN
    query := nullif(btrim(query), '');
    filter := coalesce(filter, '{}');
    PERFORM rag_search_check(query, embedding, k, filter);
    RETURN QUERY EXECUTE rag_search_statement(query, embedding, k, filter) USING embedding;
END
$$;

-- How a search is carried out: the plan, with times, under the settings of `rag_search`.
CREATE FUNCTION rag_search_explain(
    query text, embedding vector DEFAULT NULL, k integer DEFAULT 10, filter jsonb DEFAULT '{}'
)
RETURNS SETOF text
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET hnsw.iterative_scan = strict_order
SET hnsw.ef_search = 100
SET hnsw.max_scan_tuples = 1000000
SET hnsw.scan_mem_multiplier = 4
SET cpu_operator_cost = 0.05
SET jit = off
SET max_parallel_workers_per_gather = 0
AS $$
BEGIN
    query := nullif(btrim(query), '');
    filter := coalesce(filter, '{}');
    PERFORM rag_search_check(query, embedding, k, filter);
    RETURN QUERY EXECUTE 'EXPLAIN (ANALYZE, BUFFERS) '
        || rag_search_statement(query, embedding, k, filter) USING embedding;
END
$$;
