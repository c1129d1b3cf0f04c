-- A table as the change log needs it: its kind and engine, and when its definition was made. The catalog compares names
-- without regard to case; BINARY compares them as they are.
SELECT tables.table_type, tables.engine, tables.create_time
FROM information_schema.tables AS tables
WHERE tables.table_schema = %(schema)s AND tables.table_name = %(name)s
    AND BINARY tables.table_schema = BINARY %(schema)s AND BINARY tables.table_name = BINARY %(name)s
