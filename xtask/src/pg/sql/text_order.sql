-- How this database orders texts: provider, locale and the version of its rules.
SELECT CASE WHEN datlocprovider = 'c' AND lower(datcollate) IN ('c', 'posix') THEN 'bytes'
            ELSE concat_ws(' ', datlocprovider,
                replace(lower(coalesce(to_jsonb(d) ->> 'datlocale',
                                       to_jsonb(d) ->> 'daticulocale', datcollate)),
                    'utf-8', 'utf8'),
                pg_database_collation_actual_version(oid)) END
  FROM pg_database d WHERE datname = current_database()
