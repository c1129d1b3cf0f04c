-- What decides whether the change log of a server can be read. A server that has no such variable leaves it out.
SHOW GLOBAL VARIABLES WHERE variable_name IN (
    'version', 'log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_value_options',
    'binlog_transaction_compression', 'server_id', 'server_uuid', 'gtid_domain_id', 'gtid_mode', 'log_slave_updates',
    'log_replica_updates'
)
