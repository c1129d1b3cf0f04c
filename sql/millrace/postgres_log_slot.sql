-- The state of a replication slot. Postgres 17 and later tell why a slot was invalidated.
SELECT
    slot.plugin,
    slot.database = current_database() AS is_of_this_database,
    slot.wal_status,
    slot.confirmed_flush_lsn::text,
    pg_wal_lsn_diff(pg_current_wal_insert_lsn(), slot.restart_lsn)::bigint AS retained_bytes,
    slot.safe_wal_size,
    to_jsonb(slot) ->> 'invalidation_reason' AS invalidation_reason
FROM pg_catalog.pg_replication_slots AS slot
WHERE slot.slot_name = %(slot)s
