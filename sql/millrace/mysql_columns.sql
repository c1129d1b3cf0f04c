-- Columns of one table, in order. MariaDB's JSON is a longtext with a check, which only MariaDB (/*M! */) can tell of.
-- The catalog compares names without regard to case; BINARY compares them as they are. The plain comparison beside it
-- lets the server look at one table alone.
SELECT
    columns.column_name,
    /*M!100214 IF(
        EXISTS (
            SELECT 1
            FROM information_schema.check_constraints AS checks
            WHERE checks.constraint_schema = columns.table_schema
                AND BINARY checks.constraint_schema = BINARY columns.table_schema
                AND checks.table_name = columns.table_name
                AND BINARY checks.table_name = BINARY columns.table_name
                AND checks.check_clause = CONCAT('json_valid(`', columns.column_name, '`)')
        ),
        'json', */ columns.column_type /*M!100214 ) */,
    columns.character_set_name
FROM information_schema.columns AS columns
WHERE columns.table_schema = %(schema)s AND columns.table_name = %(name)s
ORDER BY columns.ordinal_position
