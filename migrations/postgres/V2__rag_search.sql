-- Hybrid search: keywords by the built-in full-text search, meaning by HNSW, joined by reciprocal
-- rank fusion with k = 60 (Cormack, Clarke and Buettcher, 2009). The same call as on ParadeDB.
-- A database that came from the other engine has its functions of these names: they are replaced.

-- The statement that answers a search, with every argument as a literal, so that each branch is
-- planned for what is asked.
CREATE OR REPLACE FUNCTION rag_search_statement(
    query text, embedding vector, k integer, filter jsonb
)
RETURNS text
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    -- More candidates than answers: a chunk that is middling in both branches may win in the sum.
    candidates constant integer := greatest(4 * k, 40);
    conditions constant text := rag_filter_conditions(filter);
    -- Chunks with all words come first. Any word is enough only where none has all: ranking reads
    -- every match, and a common word matches half the store.
    all_words constant tsquery := plainto_tsquery('english', query);
    any_word constant tsquery := replace(all_words::text, ' & ', ' | ')::tsquery;
    -- Beside a rarer word, one that a tenth of the chunks have says nothing and costs the most.
    telling_word constant tsquery := coalesce(
        (SELECT string_agg(quote_literal(word.lexeme), ' | ')
         FROM unnest(to_tsvector('english', query)) AS word
         WHERE word.lexeme NOT IN (
             SELECT common.lexeme
             FROM pg_stats, unnest(most_common_elems::text::text[], most_common_elem_freqs)
                                AS common (lexeme, share)
             WHERE schemaname = current_schema() AND tablename = 'rag_knowledge_entries'
               AND attname = 'chunk_terms' AND common.lexeme IS NOT NULL
               AND common.share > 0.1)),
        any_word::text)::tsquery;
    branch constant text :=
        'SELECT id, ts_rank_cd(chunk_terms, %1$L::tsquery) AS score FROM rag_knowledge_entries
         WHERE chunk_terms @@ %1$L::tsquery AND deleted = false%2$s
         ORDER BY score DESC, id LIMIT %3$s';
    keyword text := 'SELECT NULL::bigint AS id, NULL::bigint AS rank WHERE false';
    meaning text := 'SELECT NULL::bigint AS id, NULL::bigint AS rank WHERE false';
BEGIN
    -- A text of stop words alone has nothing to look for.
    IF numnode(all_words) > 0 THEN
        keyword := format(
            'SELECT id, row_number() OVER (ORDER BY score DESC, id) AS rank
             FROM (WITH strict AS MATERIALIZED (%s)
                   SELECT * FROM strict
                   UNION ALL
                   SELECT * FROM (%s) AS loose WHERE NOT EXISTS (SELECT FROM strict)) AS best',
            format(branch, all_words, conditions, candidates),
            format(branch, telling_word, conditions, candidates));
    END IF;
    IF embedding IS NOT NULL THEN
        meaning := format(
            'SELECT id, row_number() OVER (ORDER BY distance, id) AS rank
             FROM (SELECT id, chunk_embedding <=> %1$L::vector AS distance
                   FROM rag_knowledge_entries
                   WHERE chunk_embedding IS NOT NULL AND deleted = false%2$s
                   ORDER BY chunk_embedding <=> %1$L::vector LIMIT %3$s) AS best',
            embedding, conditions, candidates);
    END IF;
    RETURN format(
        'WITH keyword AS (%s), meaning AS (%s),
         fused AS (
             SELECT id, keyword.rank AS keyword_rank, meaning.rank AS vector_rank,
                    coalesce(1.0 / (60 + keyword.rank), 0)
                    + coalesce(1.0 / (60 + meaning.rank), 0) AS score
             FROM keyword FULL JOIN meaning USING (id)
             ORDER BY score DESC, id LIMIT %s)
         SELECT id, fused.score::double precision, fused.keyword_rank::integer,
                fused.vector_rank::integer, entry.repo::text, entry.source_type::text,
                entry.source_id::text, entry.chunk_index,
                CASE WHEN fused.keyword_rank IS NULL
                     THEN rag_search_escape(left(entry.chunk_text, 200))
                     ELSE ts_headline(''english'', rag_search_escape(entry.chunk_text), %L::tsquery,
                          ''StartSel=<mark>, StopSel=</mark>, MaxWords=35, MinWords=15'') END
         FROM fused JOIN rag_knowledge_entries AS entry USING (id)
         ORDER BY fused.score DESC, id',
        keyword, meaning, k, nullif(any_word::text, ''));
END
$$;

-- The best k chunks for a query, an embedding, or both. `filter` knows repo, source_type, labels,
-- author, since and until. Ranks say how each branch placed a chunk, from 1; NULL where it did not.
CREATE OR REPLACE FUNCTION rag_search(
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
    RETURN QUERY EXECUTE rag_search_statement(query, embedding, k, filter);
END
$$;

-- How a search is carried out: the plan, with times, under the settings of `rag_search`.
CREATE OR REPLACE FUNCTION rag_search_explain(
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
        || rag_search_statement(query, embedding, k, filter);
END
$$;

SELECT rag_grant(current_setting('xtask.runtime_role', true),
                 current_setting('xtask.search_role', true));
