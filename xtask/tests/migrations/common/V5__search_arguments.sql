-- Bad arguments are refused, filters are turned into conditions, and PUBLIC may call nothing.
DO $$
BEGIN
    PERFORM rag_search_check('words', NULL, 10, '{"repo": "one", "labels": ["a"]}');
    BEGIN
        PERFORM rag_search_check(NULL, NULL, 10, '{}');
        ASSERT false, 'a search for nothing is taken';
    EXCEPTION WHEN null_value_not_allowed THEN NULL;
    END;
    BEGIN
        PERFORM rag_search_check('words', NULL, 0, '{}');
        ASSERT false, 'k = 0 is taken';
    EXCEPTION WHEN invalid_parameter_value THEN NULL;
    END;
    BEGIN
        PERFORM rag_search_check('words', '[1,2]', 10, '{}');
        ASSERT false, 'an embedding of two dimensions is taken';
    EXCEPTION WHEN invalid_parameter_value THEN NULL;
    END;
    BEGIN
        PERFORM rag_search_check('words', NULL, 10, '{"repository": "one"}');
        ASSERT false, 'an unknown filter is taken';
    EXCEPTION WHEN invalid_parameter_value THEN NULL;
    END;
    ASSERT rag_filter_conditions('{"author": "O''Neil"}') LIKE '%author = ''O''''Neil''%',
        'a filter is not quoted: ' || rag_filter_conditions('{"author": "O''Neil"}');
END
$$;
