-- Whether this server and this role can read a change log, and which log it is.
SELECT
    current_setting('wal_level') AS wal_level,
    pg_is_in_recovery() AS is_replica,
    (
        SELECT rolsuper OR rolreplication OR EXISTS (
            SELECT 1 FROM pg_catalog.pg_roles AS rds
            WHERE rds.rolname = 'rds_replication' AND pg_has_role(current_user, rds.oid, 'USAGE')
        )
        FROM pg_catalog.pg_roles
        WHERE rolname = current_user
    ) AS may_replicate,
    EXISTS (SELECT 1 FROM pg_catalog.pg_publication WHERE pubname = %(publication)s) AS has_publication,
    pg_catalog.format('%%s/%%s/%%s', system.system_identifier, timeline.id, current_database()) AS log
FROM
    pg_catalog.pg_control_system() AS system,
    -- The first eight characters of the file that is written now are its timeline. The control file names a new one only
    -- at the first checkpoint after a promotion. A replica writes no file.
    LATERAL (
        SELECT
            CASE
                WHEN NOT pg_is_in_recovery()
                    THEN ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint
            END AS id
    ) AS timeline
