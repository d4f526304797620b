-- What the generator draws from, in every session that fills: hashes of a row's number, a purpose
-- and the seed. The same seed and scale make the same rows on every machine and every version.
-- {seed}, {scale}, {piece} and {pieces} are numbers that the tool writes here.

-- How many rows a table gets that has this many at scale 1; never so few that writers starve.
CREATE OR REPLACE FUNCTION pg_temp.size(at_scale_one bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    RETURN greatest(8, (at_scale_one * {scale}::numeric)::bigint);

-- The row numbers of this piece, out of 1 to `total`.
CREATE OR REPLACE FUNCTION pg_temp.numbers(total bigint) RETURNS SETOF bigint
    LANGUAGE sql IMMUTABLE
    BEGIN ATOMIC
        SELECT generate_series(
            total * {piece} / {pieces} + 1, total * ({piece} + 1) / {pieces});
    END;

-- A number from 0 to below `range`.
CREATE OR REPLACE FUNCTION pg_temp.pick(n bigint, purpose text, range bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    RETURN (hashint8extended(n, hashtextextended(purpose, {seed}::bigint))
            & 9223372036854775807) % range;

-- An amount of money below `units`, to eight places.
CREATE OR REPLACE FUNCTION pg_temp.amount(n bigint, purpose text, units bigint) RETURNS numeric
    LANGUAGE sql IMMUTABLE
    RETURN pg_temp.pick(n, purpose, units * 100000000)::numeric / 100000000;

-- An instant in the first half of 2025, to the microsecond.
CREATE OR REPLACE FUNCTION pg_temp.moment(n bigint, purpose text) RETURNS timestamptz
    LANGUAGE sql STABLE
    RETURN timestamptz '2025-01-01 00:00:00+00'
           + pg_temp.pick(n, purpose, 15552000000000) * interval '1 microsecond';

CREATE OR REPLACE FUNCTION pg_temp.letters(n bigint, purpose text) RETURNS text
    LANGUAGE sql IMMUTABLE
    RETURN md5(purpose || n || {seed}::bigint);

-- Bytes that no compression makes smaller, 64 for each block.
CREATE OR REPLACE FUNCTION pg_temp.noise(n bigint, purpose text, blocks bigint) RETURNS bytea
    LANGUAGE sql IMMUTABLE
    BEGIN ATOMIC
        SELECT string_agg(
            sha512(convert_to(purpose || n || ':' || block || {seed}::bigint, 'UTF8')), ''::bytea
            ORDER BY block)
        FROM generate_series(1, blocks) AS block;
    END;
