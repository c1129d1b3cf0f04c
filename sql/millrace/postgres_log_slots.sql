-- All replication slots of Millrace in this database, with the log that the server keeps because of each.
SELECT
    slot.slot_name::text,
    slot.active,
    slot.wal_status,
    slot.confirmed_flush_lsn::text,
    pg_wal_lsn_diff(pg_current_wal_insert_lsn(), slot.restart_lsn)::bigint AS retained_bytes,
    slot.safe_wal_size
FROM pg_catalog.pg_replication_slots AS slot
WHERE slot.slot_name LIKE 'millrace\_%%' AND slot.database = current_database() AND NOT slot.temporary
ORDER BY slot.slot_name
