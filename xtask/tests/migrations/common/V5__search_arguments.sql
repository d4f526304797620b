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
    ASSERT rag_search_candidates('words', NULL, 7) = 7
        AND rag_search_candidates('words', '[1]', 7) = 40
        AND rag_search_candidates('words', '[1]', 20) = 80, 'a branch names too many, or too few';
    ASSERT rag_search_snippet('a <b> rollback', true, rag_search_any_word('the rollback'))
        = 'a &lt;b&gt; <mark>rollback</mark>', 'markup comes through, or no word is marked';
    ASSERT rag_search_snippet('a <b>', true, rag_search_any_word('the')) = 'a &lt;b&gt;',
        'nothing is shown where there is no word to mark';
END
$$;
