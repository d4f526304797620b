-- One number that any committed change of schema changes: every catalog row of ours with the
-- transaction that wrote it. A few milliseconds, where the facts of the schema take many.
WITH ours AS (
    SELECT oid FROM pg_namespace
    WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
      AND nspname NOT LIKE 'pg\_temp\_%' AND nspname NOT LIKE 'pg\_toast\_temp\_%'
),
relations AS (
    SELECT oid, xmin FROM pg_class WHERE relnamespace IN (SELECT oid FROM ours)
),
versions AS (
    SELECT 'r' || oid || ' ' || xmin AS version FROM relations
    UNION ALL
    SELECT 'a' || attrelid || ' ' || attnum || ' ' || xmin FROM pg_attribute
    WHERE attrelid IN (SELECT oid FROM relations)
    UNION ALL
    SELECT 'd' || oid || ' ' || xmin FROM pg_attrdef
    WHERE adrelid IN (SELECT oid FROM relations)
    UNION ALL
    SELECT 'c' || oid || ' ' || xmin FROM pg_constraint
    WHERE connamespace IN (SELECT oid FROM ours)
    UNION ALL
    SELECT 'i' || indexrelid || ' ' || xmin FROM pg_index
    WHERE indexrelid IN (SELECT oid FROM relations)
    UNION ALL
    SELECT 't' || oid || ' ' || xmin FROM pg_trigger
    WHERE tgrelid IN (SELECT oid FROM relations)
    UNION ALL
    SELECT 'w' || oid || ' ' || xmin FROM pg_rewrite
    WHERE ev_class IN (SELECT oid FROM relations)
    UNION ALL
    SELECT 'p' || oid || ' ' || xmin FROM pg_proc WHERE pronamespace IN (SELECT oid FROM ours)
    UNION ALL
    SELECT 'y' || oid || ' ' || xmin FROM pg_type WHERE typnamespace IN (SELECT oid FROM ours)
    UNION ALL
    SELECT 'e' || oid || ' ' || xmin FROM pg_enum
    UNION ALL
    SELECT 'l' || oid || ' ' || xmin FROM pg_policy
    UNION ALL
    SELECT 'n' || oid || ' ' || xmin FROM pg_namespace WHERE oid IN (SELECT oid FROM ours)
)
SELECT count(*)::text || ' ' || coalesce(sum(hashtextextended(version, 0)), 0)::text FROM versions
