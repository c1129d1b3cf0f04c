-- Streams of wildcards: the tables that a pattern of a declaration (wildcard) named at the last run, and what was chosen
-- for each, as JSON. One row per stream; the row of a table that is gone stays.
CREATE TABLE IF NOT EXISTS millrace.found_streams (
    pipeline VARCHAR(128) NOT NULL,
    stream VARCHAR(128) NOT NULL,
    source VARCHAR(1024) NOT NULL,
    wildcard VARCHAR(65535) NOT NULL,
    choice VARCHAR(65535) NOT NULL
);
