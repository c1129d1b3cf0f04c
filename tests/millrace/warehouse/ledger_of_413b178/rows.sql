-- What 413b178 left after a load of three rows, one of them rejected, and a read that was not loaded yet. {text}: the
-- type of a text in the target.
INSERT INTO millrace.leases VALUES ('engine', 'notes', 2, 'test', '2025-11-30 07:58:26');
INSERT INTO millrace.columns VALUES ('engine', 'notes', 'id', 'id', TRUE, NULL);
INSERT INTO millrace.columns VALUES ('engine', 'notes', 'body', 'body', FALSE, NULL);
INSERT INTO millrace.columns VALUES ('engine', 'notes', 'amount', 'amount', FALSE, NULL);
INSERT INTO millrace.columns VALUES ('engine', 'notes', 'due', 'due', FALSE, NULL);
INSERT INTO millrace.columns VALUES ('engine', 'notes', 'changed', 'changed', FALSE, NULL);
INSERT INTO millrace.batches VALUES (
    '20251130T075625.783037Z-a43b2ba4', 'window', 'engine', 'notes', 'engine.notes',
    'engine/notes/2025/11/30/20251130T075625.783037Z-a43b2ba4/batch.json', 1, '2025-11-30 07:56:25.783037+00', NULL,
    '2025-11-30T07:56:25.783037+00:00', 3, 2, 0, 0, 0, 1, '2025-11-30 07:56:26.236167+00', NULL, NULL, NULL, NULL, NULL
);
INSERT INTO millrace.rejects VALUES (
    '20251130T075625.783037Z-a43b2ba4', 'engine', 'notes', 'infinite_date', 'due', 1, NULL
);
CREATE SCHEMA engine;
CREATE TABLE engine.notes (
    id INTEGER NOT NULL,
    body {text},
    amount NUMERIC(19, 4),
    due DATE,
    changed TIMESTAMPTZ,
    _row_hash VARCHAR(64) NOT NULL,
    _loaded_at TIMESTAMPTZ NOT NULL
);
INSERT INTO engine.notes VALUES (
    1, 'one', 1.5, '2026-01-01', '2026-11-01+00', '26648015049818278859199814158094174754', '2025-11-30 07:56:26.236167+00'
);
INSERT INTO engine.notes VALUES (
    2, 'zwei – ü', '999999999999999.9999', NULL, '2026-11-02+00', '42967660204132615548817092486141200860',
    '2025-11-30 07:56:26.236167+00'
);
