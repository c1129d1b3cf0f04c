-- The beginning of the oldest statement that runs. One that waits for a lock on its table has stamped its rows, and has
-- begun no transaction yet. To be asked before the transactions are: what ends in between has begun one by then.
-- Only threads known to do nothing are left out: an event's statement goes by the name of Connect, and MariaDB has
-- further words for statements, such as Bulk_execute.
-- Threads of replication (is_replica) count the seconds since they were told something.
SELECT
    MIN(
        CASE
            WHEN statements.user <> 'system user' AND NOT (
                statements.info IS NULL AND statements.command IN (
                    'Sleep', 'Daemon', 'Connect', 'Connect Out', 'Binlog Dump', 'Binlog Dump GTID', 'Killed'
                )
            )
                THEN SYSDATE(6) - INTERVAL statements.time + 1 SECOND
        END
    ) AS oldest_statement,
    COALESCE(
        MAX(
            statements.user = 'system user'
            AND statements.command IN ('Connect', 'Query', 'Slave_IO', 'Slave_SQL', 'Slave_worker')
        ), 0
    ) AS is_replica
FROM information_schema.processlist AS statements
WHERE statements.id <> CONNECTION_ID()
