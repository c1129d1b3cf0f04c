-- Streams that no run reads until they are resumed. One row per paused stream.
CREATE TABLE IF NOT EXISTS millrace.pauses (
    pipeline VARCHAR(128) NOT NULL,
    stream VARCHAR(128) NOT NULL,
    paused_at TIMESTAMPTZ NOT NULL,
    paused_by VARCHAR(256) NOT NULL,
    reason VARCHAR(1024) NOT NULL
);

-- Which rows of its source the target of a stream holds: the declared where, as JSON. One row per stream; a stream
-- without a row was loaded before this was recorded.
CREATE TABLE IF NOT EXISTS millrace.selections (
    pipeline VARCHAR(128) NOT NULL,
    stream VARCHAR(128) NOT NULL,
    selection VARCHAR(65535) NOT NULL
);
