-- How far the target of a stream has come in the change log of its source. Written in the transaction that applies the
-- rows, which is refused if the position is not the one that the rows were read from. One row per stream; origin is the
-- server, timeline, database and reader that the position belongs to, fingerprint the form of the table,
-- committed_at when the newest transaction up to the position was committed in the source.
CREATE TABLE IF NOT EXISTS millrace.logs (
    pipeline VARCHAR(128) NOT NULL,
    stream VARCHAR(128) NOT NULL,
    origin VARCHAR(1024) NOT NULL,
    position VARCHAR(65535) NOT NULL,
    fingerprint VARCHAR(256) NOT NULL,
    committed_at TIMESTAMPTZ,
    updated_at TIMESTAMPTZ NOT NULL
);
