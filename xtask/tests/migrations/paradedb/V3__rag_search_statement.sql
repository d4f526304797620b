-- Both branches find, their ranks are joined, and a filter holds for both.
DO $$
DECLARE
    found record;
    east constant vector := ('[1' || repeat(',0', 767) || ']')::vector;
    north constant vector := ('[0,1' || repeat(',0', 766) || ']')::vector;
BEGIN
    INSERT INTO rag_knowledge_entries
        (source_type, source_id, repo, chunk_text, chunk_index, chunk_embedding)
    VALUES ('adr', 'postcondition', 'postcondition', 'the rollback was rehearsed', 0, east),
           ('adr', 'postcondition', 'postcondition', 'an index is rebuilt', 1, north);
    SELECT * INTO found
    FROM rag_search('rollback', east, 2, '{"repo": "postcondition"}') LIMIT 1;
    ASSERT found.chunk_index = 0 AND found.keyword_rank = 1 AND found.vector_rank = 1,
        'the best in both branches is not first: ' || coalesce(found::text, 'nothing');
    ASSERT found.snippet LIKE '%<mark>rollback</mark>%', 'no snippet: ' || found.snippet;
    ASSERT abs(found.score - 2.0 / 61) < 1e-9, 'the ranks are not joined: ' || found.score;
    SELECT * INTO found FROM rag_search(NULL, north, 1, '{"repo": "postcondition"}');
    ASSERT found.chunk_index = 1 AND found.keyword_rank IS NULL, 'not by meaning: ' || found::text;
    ASSERT NOT EXISTS (SELECT FROM rag_search('rollback', NULL, 5, '{"repo": "elsewhere"}')),
        'the filter does not hold';
    ASSERT EXISTS (SELECT FROM rag_search_explain('rollback')), 'no plan is shown';
    DELETE FROM rag_knowledge_entries WHERE source_id = 'postcondition';
END
$$;
