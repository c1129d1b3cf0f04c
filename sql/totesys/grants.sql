-- The rights of the pipeline `totesys` in its source, in a database named totesys: one role that reads, no more.
-- For a superuser (on RDS: rds_superuser that is a member of totesys_writer); may be run again at any time.
-- Two roles are there before it: the owner of the tables, totesys_writer here, and
--   CREATE ROLE totesys_reader LOGIN PASSWORD '…';
-- What does not belong here: the warehouse (warehouse_grants.sql).

GRANT CONNECT ON DATABASE totesys TO totesys_reader;
GRANT USAGE ON SCHEMA public TO totesys_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO totesys_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE totesys_writer IN SCHEMA public GRANT SELECT ON TABLES TO totesys_reader;

-- When the oldest open transaction began is where the next read starts. Without this right nobody can see it of other
-- users' sessions, and each run reads the last minutes again instead.
GRANT pg_read_all_stats TO totesys_reader;

-- So that a mistake fails even where somebody grants too much one day.
ALTER ROLE totesys_reader SET default_transaction_read_only = on;
