-- The beginning of the oldest statement that runs. One that waits for a lock on its table has stamped its rows, and has
-- begun no transaction yet. To be asked before the transactions are: what ends in between has begun one by then.
SELECT MIN(SYSDATE(6) - INTERVAL statements.time + 1 SECOND) AS oldest_statement
FROM information_schema.processlist AS statements
WHERE statements.command IN ('Query', 'Execute') AND statements.id <> CONNECTION_ID()
