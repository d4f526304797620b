-- Keys and indexes of the rows to measure with, built after them.
ALTER TABLE public.posting ADD PRIMARY KEY (id);
CREATE INDEX posting_account ON public.posting (account, posted_at);
ALTER TABLE public.visit ADD PRIMARY KEY (id);
CREATE INDEX visit_posting ON public.visit (posting);
ALTER TABLE public.document ADD PRIMARY KEY (id);
CREATE INDEX document_title ON public.document (title);
VACUUM (FREEZE, ANALYZE);
CHECKPOINT;
