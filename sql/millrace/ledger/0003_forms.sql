-- What the table of a stream or model (member) was made by, as JSON: load mode and its options, key, deletes, binds,
-- references, and of a model the columns of its result. One row per member; since: when this form was recorded.
CREATE TABLE IF NOT EXISTS millrace.forms (
    pipeline VARCHAR(128) NOT NULL,
    member VARCHAR(128) NOT NULL,
    form VARCHAR(65535) NOT NULL,
    since TIMESTAMPTZ NOT NULL
);
