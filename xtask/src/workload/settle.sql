-- After filling: every sequence that feeds a column goes to the last key it would have given, the
-- materialized view gets its rows, and the planner its statistics.
DO $settle$
DECLARE
    fed record;
    bound bigint;
BEGIN
    FOR fed IN
        SELECT DISTINCT sequence.seqrelid::regclass AS name, sequence.seqincrement AS step,
               attribute.attrelid::regclass AS relation, attribute.attname AS column_name
        FROM pg_catalog.pg_sequence AS sequence
        JOIN pg_catalog.pg_depend AS link
            ON link.classid = 'pg_catalog.pg_class'::regclass AND link.objid = sequence.seqrelid
            AND link.deptype IN ('a', 'i') AND link.refobjsubid > 0
        JOIN pg_catalog.pg_attribute AS attribute
            ON attribute.attrelid = link.refobjid AND attribute.attnum = link.refobjsubid
    LOOP
        EXECUTE format('SELECT %s(%I) FROM %s',
                       CASE WHEN fed.step > 0 THEN 'max' ELSE 'min' END,
                       fed.column_name, fed.relation)
        INTO bound;
        IF bound IS NOT NULL THEN
            PERFORM setval(fed.name, bound);
        END IF;
    END LOOP;
    -- This one belongs to no column, so the catalog does not lead to it.
    PERFORM setval('public.stop_event_seq', max(event_seq)) FROM public.stop_events;
END
$settle$;

REFRESH MATERIALIZED VIEW public.api_client_volume;
ANALYZE;
