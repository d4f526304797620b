-- Hybrid search: keywords by the built-in full-text search, meaning by HNSW, joined by reciprocal
-- rank fusion with k = 60 (Cormack, Clarke and Buettcher, 2009). The same call as on ParadeDB.
-- A database that came from the other engine has its function of this name: it is replaced.

-- The statement that answers a search, with the words and the filter as literals, so that each
-- branch is planned for what is asked. $1 is the embedding: to write its numbers into the statement
-- and to read them again took a tenth of the time of a search by meaning.
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
    -- Chunks with all words come first. Any word is enough only where none has all: ranking reads
    -- every match, and a common word matches half the store.
    all_words constant tsquery := plainto_tsquery('english', query);
    any_word constant tsquery := rag_search_any_word(query);
    -- Beside a rarer word, one that thousands of chunks have says little and costs the most.
    telling_word constant tsquery := (
        SELECT string_agg(quote_literal(lexeme), ' | ')
        FROM (SELECT word.lexeme, coalesce(common.share, 0) * chunks.count AS matches,
                     rank() OVER (ORDER BY coalesce(common.share, 0)) AS place
              FROM unnest(to_tsvector('english', query)) AS word
              LEFT JOIN (SELECT common.lexeme, common.share
                         FROM pg_stats, unnest(most_common_elems::text::text[],
                                               most_common_elem_freqs) AS common (lexeme, share)
                         WHERE schemaname = current_schema()
                           AND tablename = 'rag_knowledge_entries'
                           AND attname = 'chunk_terms') AS common USING (lexeme),
                   (SELECT greatest(reltuples, 0) AS count FROM pg_class
                    WHERE oid = 'rag_knowledge_entries'::regclass) AS chunks) AS word
        WHERE matches <= 2000 OR place = 1);
    branch constant text :=
        'SELECT id, ts_rank_cd(chunk_terms, %1$L::tsquery) AS score FROM rag_knowledge_entries
         WHERE chunk_terms @@ %1$L::tsquery AND deleted = false%2$s
         ORDER BY score DESC, id LIMIT %3$s';
    -- Where even the telling words find nothing, as a word that nobody wrote, the others are asked
    -- for. Thousands of chunks may have them: so many are ranked as is done in a moment.
    last_resort constant text :=
        'SELECT id, ts_rank_cd(chunk_terms, %1$L::tsquery) AS score
         FROM (SELECT id, chunk_terms FROM rag_knowledge_entries
               WHERE chunk_terms @@ %1$L::tsquery AND deleted = false%2$s LIMIT 5000) AS matching
         ORDER BY score DESC, id LIMIT %3$s';
    keyword text := 'SELECT NULL::bigint AS id, NULL::bigint AS rank WHERE false';
    meaning text := 'SELECT NULL::bigint AS id, NULL::bigint AS rank WHERE false';
BEGIN
    -- A text of stop words alone has nothing to look for.
    IF numnode(all_words) > 0 THEN
        keyword := format(
            'SELECT id, row_number() OVER (ORDER BY score DESC, id) AS rank
             FROM (WITH strict AS MATERIALIZED (%s),
                        loose AS MATERIALIZED (
                            SELECT * FROM (%s) AS telling WHERE NOT EXISTS (SELECT FROM strict))
                   SELECT * FROM strict
                   UNION ALL
                   SELECT * FROM loose
                   UNION ALL
                   SELECT * FROM (%s) AS resort
                   WHERE NOT EXISTS (SELECT FROM strict) AND NOT EXISTS (SELECT FROM loose)
                  ) AS best',
            format(branch, all_words, conditions, candidates),
            format(branch, telling_word, conditions, candidates),
            format(last_resort, any_word, conditions, candidates));
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
        keyword, meaning, k, any_word);
END
$$;

SELECT rag_grant(current_setting('xtask.runtime_role', true),
                 current_setting('xtask.search_role', true));
