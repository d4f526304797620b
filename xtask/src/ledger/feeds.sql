-- Every sequence that feeds a column: it belongs to it (identity, serial), or its default takes
-- from it. Partitions are left out, their root has all rows; so is what an extension owns.
WITH feed AS (
    SELECT objid AS sequence, refobjid AS relation, refobjsubid AS attribute
    FROM pg_catalog.pg_depend
    WHERE classid = 'pg_catalog.pg_class'::regclass
      AND refclassid = 'pg_catalog.pg_class'::regclass
      AND refobjsubid > 0
      AND deptype IN ('a', 'i')
    UNION
    SELECT link.refobjid, column_default.adrelid, column_default.adnum
    FROM pg_catalog.pg_attrdef AS column_default
    JOIN pg_catalog.pg_depend AS link
        ON link.classid = 'pg_catalog.pg_attrdef'::regclass
        AND link.objid = column_default.oid
        AND link.refclassid = 'pg_catalog.pg_class'::regclass
)
SELECT sequence_schema.nspname, sequence_class.relname,
       table_schema.nspname, table_class.relname,
       attribute.attname, sequence.seqincrement
FROM feed
JOIN pg_catalog.pg_sequence AS sequence ON sequence.seqrelid = feed.sequence
JOIN pg_catalog.pg_class AS sequence_class ON sequence_class.oid = feed.sequence
JOIN pg_catalog.pg_namespace AS sequence_schema
    ON sequence_schema.oid = sequence_class.relnamespace
JOIN pg_catalog.pg_class AS table_class
    ON table_class.oid = feed.relation
    AND table_class.relkind IN ('r', 'p')
    AND NOT table_class.relispartition
JOIN pg_catalog.pg_namespace AS table_schema ON table_schema.oid = table_class.relnamespace
JOIN pg_catalog.pg_attribute AS attribute
    ON attribute.attrelid = feed.relation AND attribute.attnum = feed.attribute
WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend AS owner
    WHERE owner.classid = 'pg_catalog.pg_class'::regclass
      AND owner.objid = feed.relation
      AND owner.deptype = 'e')
ORDER BY 1, 2, 3, 4, 5;
