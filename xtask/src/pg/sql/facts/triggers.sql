SELECT 'trigger', format('%I on %s', t.tgname, r.title),
       pg_get_triggerdef(t.oid) || CASE t.tgenabled WHEN 'O' THEN '' WHEN 'D' THEN ', disabled'
           WHEN 'R' THEN ', enabled for replicas' ELSE ', enabled always' END,
       r.root
  FROM pg_trigger t
  JOIN relation r ON r.oid = t.tgrelid
  JOIN pg_proc p ON p.oid = t.tgfoid
 WHERE NOT t.tgisinternal
   AND p.pronamespace IS DISTINCT FROM to_regnamespace('xtask_cutover')
UNION ALL
SELECT 'event trigger', quote_ident(e.evtname),
       concat_ws(' ', 'on', e.evtevent, e.evttags::text, 'calls', e.evtfoid::regprocedure,
           'enabled', e.evtenabled, 'owner', pg_get_userbyid(e.evtowner)),
       e.evtname::text
  FROM pg_event_trigger e
  JOIN pg_proc p ON p.oid = e.evtfoid
 WHERE ('pg_event_trigger'::regclass, e.oid) NOT IN (SELECT classid, objid FROM extension_member)
   AND p.pronamespace IS DISTINCT FROM to_regnamespace('xtask_cutover')
UNION ALL
SELECT 'rule', format('%I on %s', w.rulename, r.title),
       pg_get_ruledef(w.oid)
           || CASE w.ev_enabled WHEN 'O' THEN '' ELSE ' enabled ' || w.ev_enabled::text END,
       r.root
  FROM pg_rewrite w JOIN relation r ON r.oid = w.ev_class
 WHERE w.rulename <> '_RETURN'
