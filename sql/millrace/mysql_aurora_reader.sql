-- How many milliseconds an Aurora reader is behind its writer.
SELECT MAX(replica_lag_in_milliseconds) AS lag
FROM information_schema.replica_host_status
WHERE server_id = @@GLOBAL.aurora_server_id
