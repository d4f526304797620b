-- The rows of the sample. Each part is run by one session; a part of several pieces by several at
-- once. Keys are row numbers; triggers and foreign keys are off (session_replication_role), so
-- order does not matter and what triggers would add stands here too.

-- part django_migrations
INSERT INTO public.django_migrations (id, app, name, applied)
SELECT n, (ARRAY['api', 'clients', 'auth'])[1 + n % 3], to_char(n, 'FM0000') || '_auto',
       pg_temp.moment(n, 'migration')
FROM pg_temp.numbers(66) AS n;

-- part django_content_type
INSERT INTO public.django_content_type (id, app_label, model)
SELECT n, 'api', 'model' || n
FROM pg_temp.numbers(81) AS n;

-- part django_session
INSERT INTO public.django_session (session_key, session_data, expire_date)
SELECT left(pg_temp.letters(n, 'session') || pg_temp.letters(n, 'key'), 40),
       repeat(pg_temp.letters(n, 'data'), 6), pg_temp.moment(n, 'expire')
FROM pg_temp.numbers(pg_temp.size(2000)) AS n;

-- part clients_client
INSERT INTO public.clients_client (id, name, email, is_active, created_at)
SELECT n, (ARRAY['Ação & Filhos', 'Müller GmbH', '日本商事', 'O''Neil "Trading"'])[1 + n % 4],
       'client' || n || '@example.com', n % 9 <> 0, pg_temp.moment(n, 'client')
FROM pg_temp.numbers(pg_temp.size(200)) AS n;

-- part clients_customuser
INSERT INTO public.clients_customuser (id, username, password, last_login, is_superuser, client_id)
SELECT n, 'user' || n, 'pbkdf2_sha256$' || pg_temp.letters(n, 'password'),
       CASE WHEN n % 3 > 0 THEN pg_temp.moment(n, 'login') END, n = 1,
       CASE WHEN n % 7 > 0 THEN 1 + pg_temp.pick(n, 'user', pg_temp.size(200)) END
FROM pg_temp.numbers(pg_temp.size(1000)) AS n;

-- part tenant_config
INSERT INTO public.tenant_config (client_id, features, risk_limit)
SELECT n, jsonb_build_object('pattern_scan', n % 2 = 0, 'limit', pg_temp.amount(n, 'limit', 1000)),
       pg_temp.pick(n, 'risk', 10001)::numeric / 100
FROM pg_temp.numbers(pg_temp.size(200)) AS n;

-- part api_symbol
INSERT INTO public.api_symbol (id, client_id, name, min_quantity, accepted_prices)
SELECT n, 1 + (n - 1) / 4, (ARRAY['BTCUSDC', 'ETHUSDC', 'SOLUSDC', 'BRLUSDC'])[1 + (n - 1) % 4],
       1 / (10 ^ pg_temp.pick(n, 'minimum', 18))::numeric,
       public.price_range(0, pg_temp.amount(n, 'price', 100000), '[]')
FROM pg_temp.numbers(pg_temp.size(200) * 4) AS n;

-- part api_strategy
INSERT INTO public.api_strategy
    (id, client_id, parent_id, name, config, tags, weights, updated_at)
SELECT n, 1 + pg_temp.pick(n, 'strategy', pg_temp.size(200)),
       -- The parent often comes later than its child.
       CASE WHEN n % 5 = 0 THEN 1 + pg_temp.pick(n, 'parent', pg_temp.size(1000)) END,
       'Estratégia ' || n,
       jsonb_build_object('window', pg_temp.pick(n, 'window', 200), 'note', 'ação "x" \ y',
                          'levels', jsonb_build_array(1.0, 1.00, -0.0, 1e-7)),
       ARRAY['', 'NULL', 'a,b', '{}', pg_temp.letters(n, 'tag'), NULL],
       ARRAY[[1.5, pg_temp.pick(n, 'weight', 1000) / 7.0], ['NaN', '-Infinity']]
           ::double precision[],
       pg_temp.moment(n, 'strategy')
FROM pg_temp.numbers(pg_temp.size(1000)) AS n;

-- part api_balance
INSERT INTO public.api_balance (id, client_id, asset, free, locked, updated_at)
SELECT n, 1 + (n - 1) / 5, (ARRAY['BTC', 'ETH', 'SOL', 'BRL', 'USDC'])[1 + (n - 1) % 5],
       pg_temp.amount(n, 'free', 100000), pg_temp.amount(n, 'locked', 100),
       pg_temp.moment(n, 'balance')
FROM pg_temp.numbers(pg_temp.size(200) * 5) AS n;

-- part api_operation 2
INSERT INTO public.api_operation
    (id, client_id, strategy_id, symbol_id, side, status, quantity, price, stop_price,
     stop_check_count, stop_execution_token, created_at, updated_at)
SELECT n, 1 + pg_temp.pick(n, 'client', pg_temp.size(200)),
       1 + pg_temp.pick(n, 'strategy', pg_temp.size(1000)),
       1 + pg_temp.pick(n, 'symbol', pg_temp.size(200) * 4),
       (ARRAY['BUY', 'SELL'])[1 + pg_temp.pick(n, 'side', 2)]::public.order_side,
       (ARRAY['PLANNED', 'ACTIVE', 'CLOSED'])[1 + pg_temp.pick(n, 'status', 3)],
       pg_temp.amount(n, 'quantity', 10), pg_temp.amount(n, 'price', 60000),
       CASE WHEN n % 3 = 0 THEN pg_temp.amount(n, 'stop', 60000) END,
       pg_temp.pick(n, 'checks', 40)::integer,
       CASE WHEN n % 50 = 0 THEN pg_temp.letters(n, 'token') END,
       pg_temp.moment(n, 'operation'), pg_temp.moment(n, 'operation') + interval '1 hour'
FROM pg_temp.numbers(pg_temp.size(30000)) AS n;

-- part api_audit_transaction
INSERT INTO public.api_audit_transaction (id, operation_id, action, details, created_at)
SELECT n, n, 'INSERT', jsonb_build_object('quantity', pg_temp.amount(n, 'quantity', 10)),
       pg_temp.moment(n, 'operation')
FROM pg_temp.numbers(pg_temp.size(30000)) AS n;

-- part api_order 2
INSERT INTO public.api_order
    (id, ticket, operation_id, external_id, side, price, quantity, raw_response, created_at,
     updated_at)
OVERRIDING SYSTEM VALUE
SELECT n, n * 5, n, pg_temp.letters(n, 'external')::uuid,
       (ARRAY['BUY', 'SELL'])[1 + pg_temp.pick(n, 'side', 2)]::public.order_side,
       pg_temp.amount(n, 'price', 60000), pg_temp.amount(n, 'quantity', 10),
       jsonb_build_object('orderId', n, 'status', 'FILLED', 'fills', jsonb_build_array()),
       pg_temp.moment(n, 'operation'), pg_temp.moment(n, 'operation')
FROM pg_temp.numbers(pg_temp.size(30000)) AS n;

-- part api_operation_entry_orders
INSERT INTO public.api_operation_entry_orders (id, operation_id, order_id)
SELECT n, n, n
FROM pg_temp.numbers(pg_temp.size(30000)) AS n;

-- part api_trade 8
INSERT INTO public.api_trade (id, symbol_id, price, quantity, fee, is_maker, executed_at)
SELECT n, 1 + pg_temp.pick(n, 'symbol', pg_temp.size(200) * 4),
       pg_temp.amount(n, 'price', 60000), pg_temp.amount(n, 'quantity', 10),
       pg_temp.amount(n, 'fee', 1), n % 2 = 0,
       timestamptz '2025-01-01 00:00:00+00' + n * interval '17001 microseconds'
FROM pg_temp.numbers(pg_temp.size(750000)) AS n;

-- part api_position
INSERT INTO public.api_position (id, symbol_id, "position", opened_at, leverage)
SELECT n, 1 + pg_temp.pick(n, 'symbol', pg_temp.size(200) * 4),
       pg_temp.amount(n, 'position', 100) - 50, pg_temp.moment(n, 'position'), 1 + n % 20
FROM pg_temp.numbers(pg_temp.size(5000)) AS n;

-- part api_patterninstance
INSERT INTO public.api_patterninstance
    (id, client_id, pattern_id, symbol_id, timeframe, start_ts, features)
SELECT n, CASE WHEN n % 4 > 0 THEN 1 + pg_temp.pick(n, 'client', pg_temp.size(200)) END,
       pg_temp.pick(n, 'pattern', 60), 1 + pg_temp.pick(n, 'symbol', pg_temp.size(200) * 4),
       (ARRAY['1m', '15m', '4h'])[1 + n % 3],
       timestamptz '2025-01-01 00:00:00+00' + n * interval '1 minute',
       jsonb_build_object('confidence', pg_temp.pick(n, 'confidence', 1000) / 1000.0)
FROM pg_temp.numbers(pg_temp.size(20000)) AS n;

-- part stop_events
INSERT INTO public.stop_events (event_id, event_seq, operation_id, payload_json, occurred_at)
SELECT pg_temp.letters(n, 'stop')::uuid, n, 1 + pg_temp.pick(n, 'stop', pg_temp.size(30000)),
       jsonb_build_object('reason', 'STOP_TRIGGERED', 'price', pg_temp.amount(n, 'stop', 60000)),
       pg_temp.moment(n, 'stop')
FROM pg_temp.numbers(pg_temp.size(10000)) AS n;

-- part outbox
INSERT INTO public.outbox
    (outbox_id, correlation_id, topic, payload, published, created_at, published_at)
SELECT pg_temp.letters(n, 'outbox')::uuid, pg_temp.letters(n, 'correlation')::uuid,
       'stop.triggered', pg_temp.noise(n, 'outbox', 1 + n % 8), n % 20 <> 0,
       pg_temp.moment(n, 'outbox'), CASE WHEN n % 20 <> 0 THEN pg_temp.moment(n, 'published') END
FROM pg_temp.numbers(pg_temp.size(10000)) AS n;

-- part circuit_breaker_state
INSERT INTO public.circuit_breaker_state (symbol, state, failures, cooldown, changed_at)
SELECT 'SYM' || n, (ARRAY['closed', 'half_open', 'open'])[1 + n % 3]::public.breaker_state,
       pg_temp.pick(n, 'failures', 9)::smallint,
       make_interval(months => (n % 3)::integer, days => -1, secs => n * 1.000001),
       pg_temp.moment(n, 'breaker')
FROM pg_temp.numbers(40) AS n;

-- part research_note 4
INSERT INTO public.research_note
    (id, client_id, "timestamp", title, body, attachment, raw, keywords)
SELECT n, 1 + pg_temp.pick(n, 'note', pg_temp.size(200)), pg_temp.moment(n, 'note'),
       'Tendência de alta nº ' || n,
       CASE n % 4
           WHEN 0 THEN ''
           WHEN 1 THEN repeat(
               'O preço rompeu a resistência — volume acima da média. ',
               100 + pg_temp.pick(n, 'length', 6000)::integer)
           WHEN 2 THEN encode(
               pg_temp.noise(n, 'body', 20 + pg_temp.pick(n, 'length', 4000)), 'base64')
           ELSE E'Zeile eins\nZeile zwei\tmit Tab \\ 日本語'
       END,
       CASE n % 3
           WHEN 0 THEN pg_temp.noise(n, 'attachment', 1 + pg_temp.pick(n, 'size', 5000))
           WHEN 1 THEN '\x'::bytea
       END,
       (SELECT jsonb_object_agg('k' || key, pg_temp.letters(n * 10000 + key, 'raw'))
        FROM generate_series(0, CASE WHEN n % 5 = 0 THEN pg_temp.pick(n, 'keys', 3000) ELSE 3 END)
            AS key),
       ARRAY['tendência', pg_temp.letters(n, 'keyword')]
FROM pg_temp.numbers(pg_temp.size(300)) AS n;

-- part event_log 2
INSERT INTO public.event_log (id, occurred_at, client_id, stream, payload, digest)
SELECT n, pg_temp.moment(n, 'event'), 1 + pg_temp.pick(n, 'event', pg_temp.size(200)),
       'operation.' || n % 100, jsonb_build_object('step', n % 7), pg_temp.letters(n, 'digest')
FROM pg_temp.numbers(pg_temp.size(40000)) AS n;

-- part event_log_default
INSERT INTO public.event_log (id, occurred_at, client_id, stream, payload, digest)
SELECT pg_temp.size(40000) + n, timestamptz '2019-12-31 23:59:59.999999+00' + n * interval '1 day',
       1, 'imported', '{}', NULL
FROM pg_temp.numbers(20) AS n;

-- part feed_raw
INSERT INTO public.feed_raw (received_at, line)
-- Two and two are equal in every column.
SELECT timestamptz '2025-02-01 00:00:00+00' + n / 2 * interval '1 second',
       'trade ' || n / 2 || E'\t' || (n / 2) % 13
FROM pg_temp.numbers(pg_temp.size(5000)) AS n;

-- part exchange_fee
INSERT INTO public.exchange_fee (exchange, tier, maker, taker)
SELECT (ARRAY['binance', 'kraken', 'B3 – São Paulo'])[1 + n % 3], n / 3,
       pg_temp.pick(n, 'maker', 100)::numeric / 100, pg_temp.pick(n, 'taker', 100)::numeric / 100
FROM pg_temp.numbers(30) AS n;

-- part select
INSERT INTO "Märkte"."select" ("order", "from", "to", "say ""hi"" \ it's", "Preis")
SELECT -n, pg_temp.moment(n, 'from'), CASE WHEN n % 2 = 0 THEN timestamptz 'infinity' END,
       (ARRAY['a''b', 'c"d', E'e\\f', E'g\nh', 'ünï'])[1 + n % 5] || n,
       ROW(pg_temp.amount(n, 'price', 100), 'EUR')::"Märkte"."Geld"
FROM pg_temp.numbers(pg_temp.size(500)) AS n;

-- part Feiertage
INSERT INTO "Märkte"."Feiertage" ("Zeitraum", "Name")
SELECT daterange(date '2025-01-01' + (n * 9)::integer, date '2025-01-03' + (n * 9)::integer),
       'Feiertag ' || n || CASE WHEN n % 2 = 0 THEN ' ' ELSE '' END
FROM pg_temp.numbers(30) AS n;

-- part Alle Typen
INSERT INTO "Märkte"."Alle Typen" VALUES
    (1, 'NaN', 'NaN', 'NaN', 12.34, 'blanks', 'x', '', '', 'infinity', 'infinity', 'infinity',
     '23:59:59.999999', '00:00:00+13', '-1 mon +3 days -00:00:00.000001', '::1/64', '10.0.0.0/8',
     '08:00:2b:01:02:03', B'101', B'1', '(1e-300,-0)', '((0,0),(1,1),(1,0))', '[1,5)',
     '{[2025-01-01,2025-01-02),[2025-02-01,)}', 'a:1A fat:2B,4C', '{"b" : 1, "b": 2}',
     '{"b": 1, "a": 1.00}', '$.a[*] ? (@ > 1)', '[0:1][2:3]={{1,2},{NULL,4}}', '{BUY,NULL}',
     ROW(1.5, NULL), '16/B374D848'),
    (2, '-Infinity', '-0', 'Infinity', -0.01, '', '', E'tab\tline\nreturn\r\\N', '\x00ff5c27',
     '-infinity', '-infinity', '-infinity', '00:00', '24:00:00-13', '0', '192.168.0.1', '::/0',
     'ff:ff:ff:ff:ff:ff', B'000', B'', '(Infinity,NaN)', '((0,0))', 'empty', '{}', '', 'null',
     'null', '$', '{}', '{}', ROW(NULL, 'EUR'), '0/0'),
    (3, '1e-45', '5e-324', '1e-1000', '-92233720368547758.08', 'ü', E'\\', E'\\.', NULL,
     '0001-01-01 BC', '294276-12-31 23:59:59.999999+00', '5874897-12-31', '12:00', '12:00+00',
     '178000000 years', '0.0.0.0', '0.0.0.0/0', '00:00:00:00:00:00', B'111', B'010101010',
     '(0,0)', '((1,2))', '(,)', '{(,)}', '''it''''s'':1', '[]', '""', '$."k"', '{{{1}}}', '{SELL}',
     NULL, 'FFFFFFFF/FFFFFFFF'),
    (4, NULL, 0.1, 0.10, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL);
