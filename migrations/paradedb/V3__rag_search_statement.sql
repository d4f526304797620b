-- Hybrid search: keywords by BM25, meaning by HNSW, joined by reciprocal rank fusion with k = 60
-- (Cormack, Clarke and Buettcher, 2009). The same call as on plain PostgreSQL.
-- A database that came from the other engine has its function of this name: it is replaced.

-- The statement that answers a search, with the words and the filter as literals: pg_search plans
-- by what it sees. $1 is the embedding: to write its numbers into the statement, twice, and to read
-- them again is work for nothing.
CREATE OR REPLACE FUNCTION rag_search_statement(
    query text, embedding vector, k integer, filter jsonb
)
RETURNS text
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    candidates constant integer := rag_search_candidates(query, embedding, k);
    conditions constant text := rag_filter_conditions(filter);
    -- In the BM25 index labels are asked for by token; the array operator is not answered there.
    keyword_conditions constant text := rag_filter_conditions(filter - 'labels')
        || coalesce((SELECT string_agg(format(' AND labels === %L', label), '')
                     FROM unnest(rag_filter_strings(filter, 'labels')) AS label), '');
    keyword text := 'SELECT NULL::bigint AS id, NULL::bigint AS rank WHERE false';
    meaning text := 'SELECT NULL::bigint AS id, NULL::bigint AS rank WHERE false';
BEGIN
    IF query IS NOT NULL THEN
        keyword := format(
            'SELECT id, row_number() OVER (ORDER BY score DESC, id) AS rank
             FROM (SELECT id, pdb.score(id) AS score
                   FROM rag_knowledge_entries
                   WHERE chunk_text ||| %L AND deleted = false%s
                   ORDER BY pdb.score(id) DESC, id LIMIT %s) AS best',
            query, keyword_conditions, candidates);
    END IF;
    IF embedding IS NOT NULL THEN
        meaning := format(
            'SELECT id, row_number() OVER (ORDER BY distance, id) AS rank
             FROM (SELECT id, chunk_embedding <=> $1 AS distance
                   FROM rag_knowledge_entries
                   WHERE chunk_embedding IS NOT NULL AND deleted = false%s
                   ORDER BY chunk_embedding <=> $1 LIMIT %s) AS best',
            conditions, candidates);
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
                rag_search_snippet(entry.chunk_text, fused.keyword_rank IS NOT NULL, %L)
         FROM fused JOIN rag_knowledge_entries AS entry USING (id)
         ORDER BY fused.score DESC, id',
        keyword, meaning, k, rag_search_any_word(query));
END
$$;

SELECT rag_grant(current_setting('xtask.runtime_role', true),
                 current_setting('xtask.search_role', true));
