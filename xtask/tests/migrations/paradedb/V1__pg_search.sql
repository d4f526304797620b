-- pg_search is there and new enough.
DO $$
BEGIN
    ASSERT (SELECT string_to_array(extversion, '.')::int[] >= '{0,25}'
            FROM pg_extension WHERE extname = 'pg_search'), 'pg_search is missing or old';
END
$$;
