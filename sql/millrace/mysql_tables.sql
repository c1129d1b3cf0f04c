-- The tables and views of a database that this user may read.
SELECT table_name, table_type, coalesce(table_rows, 0), coalesce(data_length, 0) + coalesce(index_length, 0)
FROM information_schema.tables
WHERE table_schema = %(schema)s AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED', 'VIEW')
ORDER BY table_name
