-- What the server sets by itself: defaults, and what happens on update.
SELECT table_name, column_name, coalesce(column_default, ''), extra
FROM information_schema.columns
WHERE table_schema = %(schema)s
