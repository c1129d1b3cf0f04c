-- Run outside a transaction, before the snapshot is taken: now() is this statement's start, so every transaction
-- that the scan does not see starts later. Prepared transactions show no start, a replica shows none of the
-- primary's, and without the privilege other users' are hidden: then the scan cannot be relied on.
SELECT
    now() AS read_at,
    (
        SELECT min(activity.xact_start)
        FROM pg_catalog.pg_stat_activity AS activity
        WHERE activity.datname = current_database() AND activity.pid <> pg_backend_pid()
    ) AS oldest_start,
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
    AND NOT pg_is_in_recovery()
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()) AS reliable
