-- A search looks at its arguments before it asks for the engine's statement, and is neither
-- compiled nor spread over processes.
DO $$
BEGIN
    BEGIN
        PERFORM rag_search('words', NULL, 0);
        ASSERT false, 'k = 0 is taken';
    EXCEPTION WHEN invalid_parameter_value THEN NULL;
    END;
    BEGIN
        PERFORM rag_search_explain(' ', NULL);
        ASSERT false, 'a search for nothing is taken';
    EXCEPTION WHEN null_value_not_allowed THEN NULL;
    END;
    ASSERT (SELECT count(*) = 2 FROM pg_proc
            WHERE proname IN ('rag_search', 'rag_search_explain')
              AND proconfig @> '{jit=off,max_parallel_workers_per_gather=0,hnsw.ef_search=100}'),
        'the settings of a search are not those that were measured';
END
$$;
