-- What tells a replica, a cluster and the server's time zone; a server that has no such variable leaves it out.
SHOW GLOBAL VARIABLES WHERE variable_name IN (
    'read_only', 'super_read_only', 'innodb_read_only', 'aurora_server_id', 'wsrep_on', 'wsrep_cluster_address',
    'group_replication_group_name', 'time_zone', 'system_time_zone'
)
