-- What writers do: transactions of several statements, each with its weight. BEGIN, the ledger row
-- and COMMIT are added by the writer. Every statement has the same five parameters:
--   $1 the run   $2 the writer, from 0   $3 the number of its attempt   $4 a random number
--   $5 how many writers there are
-- A writer changes seeded rows only where `id % $5 = $2`, so that writers never wait for each other
-- in a circle; a row that is not there is not missed. What is shared is locked one row at a time.

-- transaction place_order 50
SELECT free
FROM public.api_balance
WHERE id = $4 % (SELECT max(id) FROM public.api_balance) / $5 * $5 + $2
FOR UPDATE;

UPDATE public.api_balance
SET free = free - 0.00000001, locked = locked + 0.00000001
WHERE id = $4 % (SELECT max(id) FROM public.api_balance) / $5 * $5 + $2;

WITH operation AS (
    INSERT INTO public.api_operation
        (client_id, strategy_id, symbol_id, side, status, quantity, price, stop_price,
         stop_execution_token, created_at, updated_at)
    SELECT 1 + $4 % (SELECT max(id) FROM public.clients_client),
           1 + $4 % (SELECT max(id) FROM public.api_strategy),
           1 + $4 % (SELECT max(id) FROM public.api_symbol),
           'BUY', 'ACTIVE', 0.00012345, $4 % 60000, NULLIF($4 % 3, 0),
           CASE WHEN $4 % 8 = 0 THEN md5($1 || '/' || $2 || '/' || $3) END,
           clock_timestamp(), clock_timestamp()
    RETURNING id
), placed AS (
    INSERT INTO public.api_order
        (operation_id, external_id, side, price, quantity, raw_response, created_at, updated_at)
    SELECT id, gen_random_uuid(), 'BUY', $4 % 60000, 0.00012345,
           jsonb_build_object('writer', $2, 'number', $3), clock_timestamp(), clock_timestamp()
    FROM operation
    RETURNING id, operation_id
)
INSERT INTO public.api_operation_entry_orders (operation_id, order_id)
SELECT operation_id, id
FROM placed;

INSERT INTO public.event_log (occurred_at, client_id, stream, payload)
SELECT clock_timestamp(), 1 + $4 % (SELECT max(id) FROM public.clients_client),
       'order.' || $2, jsonb_build_object('number', $3, 'step', step)
FROM generate_series(1, 2) AS step;

-- transaction fill_order 20
INSERT INTO public.api_trade (symbol_id, price, quantity, fee, is_maker, executed_at)
SELECT 1 + $4 % (SELECT max(id) FROM public.api_symbol), $4 % 60000, 0.00001, 0.00000001,
       execution % 2 = 0, clock_timestamp()
FROM generate_series(1, 1 + $4 % 5) AS execution;

UPDATE public.api_operation
SET status = 'CLOSED', stop_check_count = stop_check_count + 1
WHERE id = $4 % (SELECT max(id) FROM public.api_operation) / $5 * $5 + $2;

INSERT INTO public.event_log (occurred_at, client_id, stream, payload)
SELECT clock_timestamp(), 1 + $4 % (SELECT max(id) FROM public.clients_client),
       'trade.' || $2, jsonb_build_object('number', $3);

-- transaction stop 10
INSERT INTO public.stop_events (event_id, operation_id, payload_json, occurred_at)
SELECT gen_random_uuid(), operation.id, '{"reason": "STOP_TRIGGERED"}', clock_timestamp()
FROM public.api_operation AS operation
ORDER BY operation.id DESC
LIMIT 1;

INSERT INTO public.outbox (outbox_id, correlation_id, topic, payload, published, created_at)
VALUES (gen_random_uuid(), md5($1 || '/' || $2 || '/' || $3)::uuid, 'stop.triggered',
        decode(md5($4::text), 'hex'), false, clock_timestamp());

UPDATE public.outbox
SET published = true, published_at = clock_timestamp()
WHERE outbox_id IN (
    SELECT outbox_id FROM public.outbox
    WHERE NOT published
    ORDER BY created_at
    LIMIT 2
    FOR UPDATE SKIP LOCKED);

-- transaction edit 6
-- The long columns stay as they are: only the old row has them.
UPDATE public.research_note
SET title = 'Nota ' || $3
WHERE id = $4 % (SELECT max(id) FROM public.research_note) / $5 * $5 + $2;

UPDATE public.api_strategy
SET config = jsonb_set(config, '{window}', to_jsonb($4 % 200))
WHERE id = $4 % (SELECT max(id) FROM public.api_strategy) / $5 * $5 + $2;

-- transaction publish 1
INSERT INTO public.research_note (client_id, "timestamp", title, body, attachment, raw, keywords)
SELECT 1 + $4 % (SELECT max(id) FROM public.clients_client), clock_timestamp(), 'Nova nota',
       repeat('Rompimento confirmado. ', 500 + ($4 % 1000)::integer),
       (SELECT string_agg(sha512(($4 || ':' || block)::bytea), ''::bytea)
        FROM generate_series(1, 100) AS block),
       '{}', '{}';

-- transaction remove 4
DELETE FROM public.api_trade
WHERE id = $4 % (SELECT max(id) FROM public.api_trade) / $5 * $5 + $2;

DELETE FROM public.api_order
WHERE id = $4 % (SELECT max(id) FROM public.api_order) / $5 * $5 + $2;

-- transaction log_in 4
INSERT INTO public.django_session (session_key, session_data, expire_date)
VALUES (left(md5($1 || '/' || $2 || '/' || $3) || 'abcdefgh', 40), 'data',
        clock_timestamp() + interval '14 days');

-- A session gets a new key: the primary key itself changes.
UPDATE public.django_session
SET session_key = left('new' || md5($3 || '/' || $2 || '/' || $1) || 'abcdefgh', 40),
    expire_date = clock_timestamp() + interval '14 days'
WHERE session_key = (
    SELECT session_key FROM public.django_session
    ORDER BY expire_date
    LIMIT 1
    FOR UPDATE SKIP LOCKED);

-- transaction trip_breaker 1
INSERT INTO public.circuit_breaker_state (symbol, state, failures, cooldown, changed_at)
VALUES ('SYM' || $4 % 50, 'half_open', 0, '1 mon -1 day', clock_timestamp())
ON CONFLICT (symbol) DO UPDATE
SET state = EXCLUDED.state, failures = (circuit_breaker_state.failures + 1) % 9,
    changed_at = EXCLUDED.changed_at;

-- transaction detect_pattern 1
INSERT INTO public.api_patterninstance
    (client_id, pattern_id, symbol_id, timeframe, start_ts, features)
SELECT NULL, $4 % 60, 1 + $4 % (SELECT max(id) FROM public.api_symbol), '1m',
       date_trunc('minute', clock_timestamp()), '{"live": true}'
ON CONFLICT DO NOTHING;

-- transaction try_again 1
-- What a subtransaction did and took back must not arrive.
SAVEPOINT try;

INSERT INTO public.exchange_fee (exchange, tier, maker, taker)
VALUES ('taken back', 1, 1, 1);

ROLLBACK TO SAVEPOINT try;

UPDATE public.exchange_fee
SET maker = $4 % 100
WHERE exchange = 'kraken' AND tier = $4 % 10;

-- transaction feed 1
INSERT INTO public.feed_raw (received_at, line)
SELECT date_trunc('second', clock_timestamp()), 'twin'
FROM generate_series(1, 2);

-- One of two equal rows.
UPDATE public.feed_raw
SET received_at = date_trunc('second', clock_timestamp()), line = left(line || '.', 60)
WHERE ctid = (
    SELECT ctid FROM public.feed_raw
    ORDER BY received_at
    LIMIT 1
    FOR UPDATE SKIP LOCKED);

-- transaction quote_names 1
INSERT INTO "Märkte"."select" ("from", "say ""hi"" \ it's", "Preis")
VALUES (clock_timestamp(), E'O''Neil "\\" ' || $3, ROW($4 % 100, 'BRL')::"Märkte"."Geld");

DELETE FROM "Märkte"."select"
WHERE "order" = -($4 % 500 / $5 * $5 + $2);
