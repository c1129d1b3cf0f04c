-- Until when an Aurora reader shows the writer's commits, by the slowest of the readers; NULL where none says it.
SELECT now() - max(replica_lag_in_msec) * INTERVAL '1 millisecond' AS replayed_until
FROM pg_catalog.aurora_replica_status()
