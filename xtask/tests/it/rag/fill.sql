-- 64 topics times 64 variants. A chunk's embedding is its topic plus a smaller variant, so that
-- near in meaning is near in the index; its words name both. Random once, then the same for ever.
SELECT setseed(0.25);
CREATE TEMPORARY TABLE base AS
SELECT kind, number, vector_at
FROM (SELECT kind, number,
             (SELECT array_agg((random() - 0.5) * CASE kind WHEN 'topic' THEN 1 ELSE 0.4 END
                               + 0 * (number + axis))
              FROM generate_series(1, 768) AS axis)::vector AS vector_at
      FROM unnest(ARRAY['topic', 'variant']) AS kind, generate_series(0, 63) AS number) AS made;

INSERT INTO rag_knowledge_entries
    (repo, source_type, source_id, chunk_index, chunk_text, chunk_embedding, metadata,
     source_updated_at, deleted)
SELECT CASE WHEN n % 100 = 7 THEN 'shop/rare' ELSE 'shop/main' END,
       (ARRAY['github.doc', 'github.pr', 'github.issue'])[1 + n % 3],
       'document ' || n, 0,
       format('topic%s and variant%s in document %s. ', topic.number, variant.number, n)
           || repeat('The orders of the exchange are matched by price and time. ', 12 + n % 7),
       topic.vector_at + variant.vector_at,
       jsonb_build_object('author', 'author' || n % 5,
           'labels', CASE n % 4 WHEN 0 THEN '["ops"]' WHEN 1 THEN '["ops", "night"]'
                     ELSE '[]' END::jsonb),
       timestamptz '2026-01-01 00:00+00' + n * interval '1 hour', n % 10 = 3
FROM base AS topic, base AS variant, LATERAL (SELECT topic.number * 64 + variant.number AS n) AS row
WHERE topic.kind = 'topic' AND variant.kind = 'variant'
ORDER BY n;
