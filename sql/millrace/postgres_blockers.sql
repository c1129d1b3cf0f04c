-- Sessions that hold locks on tables whose names a statement has in it; exclusive ones first, then the oldest.
SELECT
    locks.pid,
    activity.usename,
    activity.application_name,
    to_char(activity.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'),
    locks.mode,
    format('%%I.%%I', namespace.nspname, class.relname)
FROM pg_catalog.pg_locks AS locks
JOIN pg_catalog.pg_class AS class ON class.oid = locks.relation AND class.relkind IN ('r', 'p', 'v', 'm', 'f')
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = class.relnamespace
LEFT JOIN pg_catalog.pg_stat_activity AS activity ON activity.pid = locks.pid
WHERE
    locks.granted
    AND locks.locktype = 'relation'
    AND locks.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    AND locks.pid IS DISTINCT FROM pg_backend_pid()
    AND namespace.nspname NOT IN ('pg_catalog', 'information_schema')
    AND strpos(%(statement)s, class.relname) > 0
ORDER BY locks.mode = 'AccessExclusiveLock' DESC, activity.xact_start NULLS LAST
LIMIT %(shown)s
