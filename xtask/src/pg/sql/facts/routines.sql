SELECT 'routine', r.title,
       CASE r.prokind WHEN 'a' THEN (
           SELECT concat_ws(' ', 'aggregate', g.aggkind, g.aggnumdirectargs,
                      'transition', g.aggtransfn::regprocedure, format_type(g.aggtranstype, NULL),
                      'final', g.aggfinalfn::regproc, g.aggfinalmodify, g.aggfinalextra,
                      'combine', g.aggcombinefn::regproc, 'initial', g.agginitval,
                      'moving', g.aggmtransfn::regproc, g.aggminvtransfn::regproc,
                      g.aggmfinalfn::regproc, g.aggminitval, 'sort', g.aggsortop::regoperator,
                      'parallel', r.proparallel)
             FROM pg_aggregate g WHERE g.aggfnoid = r.oid)
       ELSE pg_get_functiondef(r.oid) END,
       r.root
  FROM routine r
