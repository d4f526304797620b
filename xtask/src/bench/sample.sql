-- Rows to measure with: a narrow table with most of them, another narrow one, and a wide one.
CREATE TABLE public.posting (
    id bigint NOT NULL,
    account integer NOT NULL,
    amount numeric(12, 2) NOT NULL,
    posted_at timestamptz NOT NULL
);
CREATE TABLE public.visit (
    id bigint NOT NULL,
    posting bigint NOT NULL,
    mark text NOT NULL
);
CREATE TABLE public.document (
    id bigint NOT NULL,
    title text NOT NULL,
    body text NOT NULL
);
