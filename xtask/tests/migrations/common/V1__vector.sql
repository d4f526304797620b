-- pgvector is there, new enough, and outside the schema of the store.
DO $$
BEGIN
    ASSERT (SELECT string_to_array(extversion, '.')::int[] >= '{0,8,4}'
            FROM pg_extension WHERE extname = 'vector'), 'vector is missing or old';
    ASSERT '[1,0]'::vector <=> '[0,1]'::vector = 1, 'the cosine distance is not found';
END
$$;
