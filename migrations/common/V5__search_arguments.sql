-- What both engines share of `rag_search`: which arguments are good, and what a filter means.

-- Says no with an error that a caller can act on.
CREATE FUNCTION rag_search_check(query text, embedding vector, k integer, filter jsonb)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    dimensions integer;
    known constant text[] := '{repo,source_type,labels,author,since,until}';
    entry record;
BEGIN
    IF query IS NULL AND embedding IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
            MESSAGE = 'rag_search needs a query, an embedding, or both';
    END IF;
    IF k IS NULL OR k NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('k is %s, and must be from 1 to 1000', coalesce(k::text, 'NULL'));
    END IF;
    SELECT atttypmod INTO dimensions FROM pg_attribute
    WHERE attrelid = 'rag_knowledge_entries'::regclass AND attname = 'chunk_embedding';
    IF vector_dims(embedding) <> dimensions THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('the embedding has %s dimensions, and the store has %s',
                             vector_dims(embedding), dimensions),
            HINT = 'Use the model that the chunks were embedded with.';
    END IF;
    IF jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('the filter is a JSON %s, and must be an object',
                             jsonb_typeof(filter));
    END IF;
    FOR entry IN SELECT * FROM jsonb_each(filter) LOOP
        IF entry.key <> ALL (known) THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
                MESSAGE = format('unknown filter key %s', to_json(entry.key)),
                HINT = 'Known keys: ' || array_to_string(known, ', ') || '.';
        END IF;
        IF NOT coalesce(
            CASE jsonb_typeof(entry.value)
                WHEN 'string' THEN true
                WHEN 'array' THEN entry.key IN ('repo', 'source_type', 'labels')
                    AND NOT jsonb_path_exists(entry.value, 'strict $[*] ? (@.type() <> "string")')
            END, false)
        THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
                MESSAGE = format('filter key %s cannot be %s', entry.key, entry.value),
                HINT = 'A string; for repo, source_type and labels also a list of strings.';
        END IF;
    END LOOP;
END
$$;

-- The strings of a filter key: none where it is absent, one where it is a string.
CREATE FUNCTION rag_filter_strings(filter jsonb, key text) RETURNS text[]
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE jsonb_typeof(filter -> key)
        WHEN 'string' THEN ARRAY[filter ->> key]
        WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(filter -> key))
    END
$$;

-- A checked filter as conditions on `rag_knowledge_entries`, each beginning with AND. Several
-- labels must all be there; several repositories or types are alternatives.
CREATE FUNCTION rag_filter_conditions(filter jsonb) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    conditions text := '';
    strings text[];
    key text;
BEGIN
    FOREACH key IN ARRAY ARRAY['repo', 'source_type'] LOOP
        strings := rag_filter_strings(filter, key);
        IF strings IS NOT NULL THEN
            conditions := conditions || format(' AND %I IN (%s)', key,
                (SELECT coalesce(string_agg(quote_literal(string), ', '), 'NULL')
                 FROM unnest(strings) AS string));
        END IF;
    END LOOP;
    strings := rag_filter_strings(filter, 'labels');
    IF strings IS NOT NULL THEN
        conditions := conditions || format(' AND labels @> %L::text[]', strings);
    END IF;
    IF filter ? 'author' THEN
        conditions := conditions || format(' AND author = %L', filter ->> 'author');
    END IF;
    IF filter ? 'since' THEN
        conditions := conditions || format(' AND source_updated_at >= %L::timestamptz',
                                           (filter ->> 'since')::timestamptz);
    END IF;
    IF filter ? 'until' THEN
        conditions := conditions || format(' AND source_updated_at < %L::timestamptz',
                                           (filter ->> 'until')::timestamptz);
    END IF;
    RETURN conditions;
END
$$;

-- Text as it may stand in a page: a snippet holds markup of ours, so what came in must not.
CREATE FUNCTION rag_search_escape(chunk text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN replace(replace(replace(replace(replace(
    chunk, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#x27;');

-- How many chunks a branch names. More than are asked for, because a chunk that is middling in both
-- branches may win in the sum; one branch alone has its best.
CREATE FUNCTION rag_search_candidates(query text, embedding vector, k integer) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN query IS NULL OR embedding IS NULL THEN k ELSE greatest(4 * k, 40) END;

-- The words of a query, any of which is a match; without a node where it has none but stop words.
CREATE FUNCTION rag_search_any_word(query text) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN replace(plainto_tsquery('english', query)::text, ' & ', ' | ')::tsquery;

-- What is shown of a chunk: the text around the words that were found, else its beginning. The same
-- on both engines, and made for the answers alone: `pdb.snippet` is made in a branch of the search,
-- and so for each candidate.
CREATE FUNCTION rag_search_snippet(chunk text, has_words boolean, words tsquery) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN has_words AND numnode(words) > 0
    THEN ts_headline('english', rag_search_escape(chunk), words,
                     'StartSel=<mark>, StopSel=</mark>, MaxWords=35, MinWords=15')
    ELSE rag_search_escape(left(chunk, 200)) END;

-- Gives the roles exactly what they need, and PUBLIC nothing. Where a role may use the schema
-- anyway, as everybody may `public`, nothing is granted: the schema then says what it said before.
-- May be run again when a role is made later: SELECT rag_grant('robson_app', 'robson_search').
CREATE FUNCTION rag_grant(runtime_role text, search_role text) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    home constant text := (SELECT relnamespace::regnamespace::text FROM pg_class
                           WHERE oid = 'rag_knowledge_entries'::regclass);
    routine record;
BEGIN
    FOR routine IN
        SELECT oid::regprocedure AS signature,
               proname LIKE 'rag\_search%' OR proname LIKE 'rag\_filter%' AS is_search
        FROM pg_proc
        WHERE pronamespace = home::regnamespace AND proname LIKE 'rag\_%'
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', routine.signature);
        IF runtime_role <> '' AND routine.signature::text NOT LIKE '%rag\_grant(%' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', routine.signature, runtime_role);
        END IF;
        IF search_role <> '' AND routine.is_search THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', routine.signature, search_role);
        END IF;
    END LOOP;
    IF runtime_role <> '' THEN
        IF NOT has_schema_privilege(runtime_role, home::regnamespace, 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', home, runtime_role);
        END IF;
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON rag_knowledge_entries, '
                       'rag_documents, rag_dead_letters TO %I', runtime_role);
        EXECUTE format('GRANT SELECT ON rag_ingestion_lag TO %I', runtime_role);
        EXECUTE format('GRANT USAGE ON SEQUENCE rag_knowledge_entries_id_seq TO %I', runtime_role);
    END IF;
    IF search_role <> '' THEN
        IF NOT has_schema_privilege(search_role, home::regnamespace, 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', home, search_role);
        END IF;
        EXECUTE format('GRANT SELECT ON rag_knowledge_entries, rag_ingestion_lag TO %I',
                       search_role);
    END IF;
END
$$;
