-- Version 1 of the ledger. Valid on Redshift and on Postgres; keys are checked by the program, as Redshift enforces none.

-- Who reads and loads a stream now: the newest token counts, until it expires (UTC, by the warehouse's clock).
CREATE TABLE IF NOT EXISTS millrace.leases (
    pipeline VARCHAR(128) NOT NULL,
    stream VARCHAR(128) NOT NULL,
    token BIGINT NOT NULL,
    holder VARCHAR(256) NOT NULL,
    expires_at TIMESTAMP NOT NULL
);

-- Which field of the source a target's column holds: two fields that would have one name keep their own columns
-- from run to run, whichever appears first. left_at: since when the source has the column no more.
CREATE TABLE IF NOT EXISTS millrace.columns (
    pipeline VARCHAR(128) NOT NULL,
    stream VARCHAR(128) NOT NULL,
    name VARCHAR(128) NOT NULL,
    path VARCHAR(65535) NOT NULL,
    is_key BOOLEAN NOT NULL,
    left_at TIMESTAMPTZ
);

-- Rows that were rejected, per applied batch, reason and field; the rows lie beside the batch in the lake. Open until
-- a replay, or a read of everything, read them again: closed_by is its batch.
CREATE TABLE IF NOT EXISTS millrace.rejects (
    batch_id VARCHAR(64) NOT NULL,
    pipeline VARCHAR(128) NOT NULL,
    stream VARCHAR(128) NOT NULL,
    reason VARCHAR(256) NOT NULL,
    field VARCHAR(65535) NOT NULL,
    rows_rejected BIGINT NOT NULL,
    closed_by VARCHAR(64)
);

-- The objects of the lake, each with messages that consumers collected of a queue, that were applied, and by which batch
-- first. Names sort by time.
CREATE TABLE IF NOT EXISTS millrace.collected (
    pipeline VARCHAR(128) NOT NULL,
    stream VARCHAR(128) NOT NULL,
    name VARCHAR(64) NOT NULL,
    batch_id VARCHAR(64) NOT NULL
);

-- One row per applied batch, written in the transaction that applies its rows. A stream's position is that of its
-- latest read; manifest is a key in the landing zone (of a model: in the processed zone). The last five columns say how
-- old the changed rows were when they became visible; silent ones, whose stamp did not move, are of unknown age. Made
-- last: where it is, the others are.
CREATE TABLE IF NOT EXISTS millrace.batches (
    batch_id VARCHAR(64) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    pipeline VARCHAR(128) NOT NULL,
    stream VARCHAR(128) NOT NULL,
    target VARCHAR(260) NOT NULL,
    manifest VARCHAR(1024) NOT NULL,
    token BIGINT NOT NULL,
    read_at TIMESTAMPTZ NOT NULL,
    lower_bound VARCHAR(256),
    position VARCHAR(256),
    rows_read BIGINT NOT NULL,
    rows_inserted BIGINT NOT NULL,
    rows_updated BIGINT NOT NULL,
    rows_deleted BIGINT NOT NULL,
    rows_unchanged BIGINT NOT NULL,
    rows_rejected BIGINT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL,
    rows_stamped BIGINT,
    rows_silent BIGINT,
    age_p50_seconds DOUBLE PRECISION,
    age_p95_seconds DOUBLE PRECISION,
    age_max_seconds DOUBLE PRECISION
);
