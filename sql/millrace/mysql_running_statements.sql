-- The beginning of the oldest statement that runs. One that waits for a lock on its table has stamped its rows, and has
-- begun no transaction yet. To be asked before the transactions are: what ends in between has begun one by then.
-- Threads of replication (is_replica) count the seconds since they were told something.
SELECT
    MIN(
        CASE WHEN statements.command IN ('Query', 'Execute') AND statements.user <> 'system user'
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
