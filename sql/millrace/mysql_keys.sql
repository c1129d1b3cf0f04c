-- Columns of unique keys without a prefix of a column, in order.
SELECT statistics.table_name, statistics.index_name, statistics.column_name, statistics.nullable, statistics.sub_part
FROM information_schema.statistics AS statistics
WHERE statistics.table_schema = %(schema)s AND statistics.non_unique = 0
ORDER BY statistics.table_name, statistics.index_name, statistics.seq_in_index
