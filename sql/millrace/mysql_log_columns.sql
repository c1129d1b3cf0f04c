-- The columns of a table by their position, as its log has them, and what the catalog says of their values.
SELECT columns.column_name, columns.ordinal_position - 1, columns.column_type, columns.character_set_name
FROM information_schema.columns AS columns
WHERE columns.table_schema = %(schema)s AND columns.table_name = %(name)s
    AND BINARY columns.table_schema = BINARY %(schema)s AND BINARY columns.table_name = BINARY %(name)s
