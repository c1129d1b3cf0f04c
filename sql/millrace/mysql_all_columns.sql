-- Columns of every table of a database, in order, and what the server sets by itself: defaults, and what happens on
-- update.
SELECT table_name, column_name, column_type, coalesce(column_default, ''), extra
FROM information_schema.columns
WHERE table_schema = %(schema)s
ORDER BY table_name, ordinal_position
