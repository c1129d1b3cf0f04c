-- Run outside a transaction, before the snapshot is taken: now() is this statement's start, so every transaction
-- that the scan does not see starts later.
-- Autovacuum writes no rows, nor does a walsender that has no transaction id: however long, they hold nothing back.
-- A session with track_activities = off does not say when its transaction began; its state is then `disabled`. Nor
-- does, from Postgres 18 on, a walsender, which may write as well and then has a transaction id.
-- A subscription brings rows that were stamped when they were written on the server that it follows.
-- A prepared transaction does not say when it began, but when it was prepared.
-- Writers: without the transactions of other reads of Millrace, which say what they are by their application_name.
-- A replica sees its own sessions, which do not write. It says until when it replayed the primary's commits; after a
-- restart with nothing replayed yet, the checkpoint that it started from does.
-- Zones: what this session was given, and what other roles are given in this database. What the client asked for
-- (PGTZ) hides the server's own zone, which may then be any.
-- A read of Millrace says so by the name of its session, and as long as it writes nothing it has no transaction id.
WITH open AS (
    SELECT
        min(activity.xact_start) AS oldest,
        min(activity.xact_start) FILTER (
            WHERE activity.application_name IS DISTINCT FROM 'millrace read' OR activity.backend_xid IS NOT NULL
        ) AS oldest_writer
    FROM pg_catalog.pg_stat_activity AS activity
    WHERE
        activity.datname = current_database()
        AND activity.pid <> pg_backend_pid()
        AND activity.backend_type IS DISTINCT FROM 'autovacuum worker'
        AND NOT (activity.backend_type = 'walsender' AND activity.backend_xid IS NULL)
)

SELECT
    now() AS read_at,
    CASE WHEN NOT pg_is_in_recovery() THEN least(
        open.oldest, (SELECT min(prepared) FROM pg_catalog.pg_prepared_xacts WHERE database = current_database())
    ) END AS oldest_start,
    CASE WHEN NOT pg_is_in_recovery() THEN open.oldest_writer END AS oldest_writer_start,
    CASE
        WHEN pg_is_in_recovery() THEN 'replica'
        WHEN NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') THEN 'not granted'
        WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()) THEN 'prepared'
        WHEN EXISTS (
            SELECT 1
            FROM pg_catalog.pg_stat_activity AS activity
            WHERE
                activity.datname = current_database()
                AND activity.pid <> pg_backend_pid()
                AND activity.backend_type IS DISTINCT FROM 'autovacuum worker'
                AND (
                    activity.state = 'disabled'
                    OR (activity.xact_start IS NULL AND activity.backend_xid IS NOT NULL)
                )
        ) THEN 'not tracked'
        WHEN EXISTS (
            SELECT 1
            FROM pg_catalog.pg_subscription AS subscription
            JOIN pg_catalog.pg_database AS own ON own.oid = subscription.subdbid
            WHERE own.datname = current_database()
        ) THEN 'subscriber'
        ELSE ''
    END AS why_blind,
    CASE WHEN pg_is_in_recovery() THEN coalesce(
        pg_last_xact_replay_timestamp(), (SELECT checkpoint_time FROM pg_catalog.pg_control_checkpoint())
    ) END AS replayed_until,
    ARRAY(
        SELECT CASE WHEN source = 'client' THEN 'a zone that PGTZ or an option hides' ELSE setting END
        FROM pg_catalog.pg_settings
        WHERE name = 'TimeZone'
        UNION
        SELECT split_part(setting, '=', 2)
        FROM pg_catalog.pg_db_role_setting, unnest(setconfig) AS setting
        WHERE
            lower(split_part(setting, '=', 1)) = 'timezone'
            AND setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
    ) AS zones
FROM open
