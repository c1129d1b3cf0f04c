-- One row per applied batch, written in the transaction that applies its rows. A stream's position is that of its
-- latest read. Valid on Redshift and on Postgres; keys are checked by the program, as Redshift enforces none.
CREATE SCHEMA IF NOT EXISTS millrace;

CREATE TABLE IF NOT EXISTS millrace.batches (
    batch_id VARCHAR(64) NOT NULL,
    pipeline VARCHAR(128) NOT NULL,
    stream VARCHAR(128) NOT NULL,
    target VARCHAR(260) NOT NULL,
    manifest VARCHAR(1024) NOT NULL,
    read_at TIMESTAMPTZ NOT NULL,
    lower_bound VARCHAR(256),
    position VARCHAR(256),
    rows_read BIGINT NOT NULL,
    rows_inserted BIGINT NOT NULL,
    rows_updated BIGINT NOT NULL,
    rows_deleted BIGINT NOT NULL,
    rows_unchanged BIGINT NOT NULL,
    rows_rejected BIGINT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL
);

-- Which field of the source a target's column holds: two fields that would have one name keep their own columns
-- from run to run, whichever appears first.
CREATE TABLE IF NOT EXISTS millrace.columns (
    pipeline VARCHAR(128) NOT NULL,
    stream VARCHAR(128) NOT NULL,
    name VARCHAR(128) NOT NULL,
    path VARCHAR(65535) NOT NULL
);
