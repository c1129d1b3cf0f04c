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
    pg_catalog.format('%%s/%%s/%%s', system.system_identifier, checkpoint.timeline_id, current_database()) AS log
FROM pg_catalog.pg_control_system() AS system, pg_catalog.pg_control_checkpoint() AS checkpoint
