-- Every version that this ledger has had and since when; the greatest one counts. A ledger without this table is of
-- version 1.
CREATE TABLE IF NOT EXISTS millrace.version (
    version INTEGER NOT NULL,
    since TIMESTAMPTZ NOT NULL
);

-- Where the rows of a stream's target come from: kind of server, connection, schema and table (never a host or a
-- password). One row per stream.
CREATE TABLE IF NOT EXISTS millrace.sources (
    pipeline VARCHAR(128) NOT NULL,
    stream VARCHAR(128) NOT NULL,
    source VARCHAR(1024) NOT NULL
);
