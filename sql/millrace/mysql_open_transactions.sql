-- Run inside a transaction that was begun just now, which the answer must show (is_fresh): InnoDB renews its list of
-- transactions only when nobody has read it for a tenth of a second.
-- trx_started is in the server's time zone; of an hour that comes twice the first is taken.
SELECT
    COALESCE(SUM(transactions.trx_mysql_thread_id = CONNECTION_ID()), 0) > 0 AS is_fresh,
    MIN(
        CASE WHEN transactions.trx_mysql_thread_id <> CONNECTION_ID() THEN LEAST(
            CONVERT_TZ(transactions.trx_started, 'SYSTEM', '+00:00'),
            CONVERT_TZ(transactions.trx_started - INTERVAL 1 HOUR, 'SYSTEM', '+00:00') + INTERVAL 1 HOUR
        ) END
    ) AS oldest_transaction,
    MIN(
        CASE WHEN transactions.trx_mysql_thread_id <> CONNECTION_ID() AND transactions.trx_is_read_only = 0 THEN LEAST(
            CONVERT_TZ(transactions.trx_started, 'SYSTEM', '+00:00'),
            CONVERT_TZ(transactions.trx_started - INTERVAL 1 HOUR, 'SYSTEM', '+00:00') + INTERVAL 1 HOUR
        ) END
    ) AS oldest_writer
FROM information_schema.innodb_trx AS transactions
